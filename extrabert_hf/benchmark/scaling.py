"""How the time of ours and of the peer grows: with the rows, and with the words of a sentence."""

from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset

from extrabert_hf.benchmark.contenders import Rows
from extrabert_hf.benchmark.rounds import Work, seconds_of
from extrabert_hf.tasks import SENTENCE_COLUMNS

SHARES = (0.25, 0.5, 1.0)
"""Of the rows."""
WORDS = (8, 16, 32, 64)


def measure_scaling(contenders: Mapping[str, Callable[[Rows], Work]], rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """
    Times one piece of work of each size, contender after contender.

    Args:
        contenders (`Mapping[str, Callable]`):
            Sets up each one's work on the rows given.
        rows (`Mapping[str, Dataset]`):
            By task; a quarter of them is given sentences of a number of words.

    Returns:
        `dict`: for `"rows"` and `"words"` a list of the sizes measured, each with its size by that name and, by
        contender, its seconds.
    """

    def seconds(sized: Rows) -> dict[str, float]:
        return {name: seconds_of(build(sized)) for name, build in contenders.items()}

    def some(share: float) -> dict[str, Dataset]:
        return {task: its.select(range(max(1, int(share * len(its))))) for task, its in rows.items()}

    quarter = some(SHARES[0])
    return {
        "rows": [{"rows": len(next(iter(some(share).values()))), **seconds(some(share))} for share in SHARES],
        "words": [
            {"words": words, **seconds({task: with_words(its, words) for task, its in quarter.items()})}
            for words in WORDS
        ],
    }


def with_words(rows: Dataset, words: int) -> Dataset:
    """Gives each sentence so many words: its own, from the start again where it has fewer."""

    def stretch(row: dict[str, Any]) -> dict[str, str]:
        split = {name: row[name].split() for name in SENTENCE_COLUMNS if name in row}
        return {name: " ".join((its * -(-words // max(1, len(its))))[:words]) for name, its in split.items()}

    return rows.map(stretch)

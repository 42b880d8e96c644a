"""
Adds further train rows to the splits of a task: rows of other files, and phrases of trees.

A row that is also in dev or test is left out, and so is a text that is already in train.
"""

import logging
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, concatenate_datasets

from extrabert_hf.data.auditing import TextKey, text_keys
from extrabert_hf.data.loading import LoadedData, read_split, take_rows
from extrabert_hf.data.reading import has_trees, read_phrases
from extrabert_hf.data.rejected_rows import ExtraRows, RejectedRow, Rows
from extrabert_hf.data.sources import Source, file_source
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import COLUMN_FIELDS, SENTENCE_COLUMNS, TaskSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phrases:
    """
    Which phrases of trees become train rows.

    Args:
        min_words (`int`):
            Number of words of the shortest phrase; punctuation does not count.
        neutral_share (`float`, defaults to 1.0):
            Share of the phrases with the middle class, 0 to 1, that is kept.
    """

    min_words: int
    neutral_share: float = 1.0


def add_extra_rows(
    loaded: LoadedData,
    files: Sequence[str | Path] = (),
    *,
    own_trees: Path | None = None,
    phrases: Phrases | None = None,
    seed: int = 42,
    strict: bool = False,
    max_rejected_share: float | None = None,
) -> LoadedData:
    """
    Adds further rows to the end of the train split; dev and test stay as they are.

    A row is left out if its text, or either sentence of its pair, is in dev or test, and a phrase if the sentence of
    its tree is: letters and digits are compared, ignoring case. Each other text is added once, unless it is in train.
    If a text has several labels, the row in train decides, or else the most frequent label, and of equally frequent
    labels the first.

    Args:
        loaded ([`LoadedData`]):
            The splits.
        files (`Sequence[str | Path]`, *optional*):
            Files of rows with labels of the task, in the formats of [`read_rows`].
        own_trees (`Path`, *optional*):
            The file of the train split. If it has trees, `phrases` of the trees in the train split are added.
        phrases ([`Phrases`], *optional*):
            Which phrases of trees are added; by default none.
        seed (`int`, *optional*, defaults to 42):
            Seed of the draw of neutral phrases.
        strict (`bool`, *optional*, defaults to `False`):
            Whether a row that cannot be read is an error.
        max_rejected_share (`float`, *optional*):
            Share of the rows of a file, 0 to 1, that may be rejected, see [`check_rejected_share`].

    Returns:
        [`LoadedData`]: with the counts of each file in `extra`. Rows that are in dev or test are rejected rows.

    Raises:
        [`InputError`]: for a file that is missing or lacks labels of the task, and for `phrases` without trees.

    Example:
        >>> from extrabert_hf.data.loading import load_task_data
        >>> from extrabert_hf.data.sources import SAMPLE_FOLDER
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> loaded = load_task_data(PAPER_TASKS["sst"], "sample")
        >>> print(add_extra_rows(loaded, [SAMPLE_FOLDER / "ids-sst-dev.csv"]).extra[0])
        ids-sst-dev.csv: 90 rows, none added to train; left out: 90 also in dev
    """
    task, train = loaded.task, loaded.splits["train"]
    named = tuple(name for name in COLUMN_FIELDS if getattr(task, name) is not None)
    file_task = replace(task, remembered_columns=named)  # other files may have other names of columns
    others, labels_in_train = _sentences_of_others(loaded), dict(zip(text_keys(train), train["label"][:], strict=True))
    rng, tables, rejected, notices, counts = np.random.default_rng(seed), [train], [], [], []
    # by line of the last file that was read, first of the train split
    trees_in_others = {} if own_trees is None else _lines_of(train, _leaks(train, others))
    for source, is_phrases in _sources(loaded, files, own_trees, phrases):
        split = read_split(source, file_task, strict=strict, max_rejected_share=max_rejected_share)
        for warning in split.warnings:
            logger.warning(warning)
        rows, lines = split.dataset, split.dataset["line"][:]
        leaks = _leaks(rows, others)
        if is_phrases:
            trees = {index: trees_in_others[line] for index, line in enumerate(lines) if line in trees_in_others}
            leaks = {index: f"of a tree {reason}" for index, reason in trees.items()} | leaks
        else:
            trees_in_others = _lines_of(rows, leaks)
        left_out = Counter(leaks.values())
        kept = _new_texts(rows, leaks, labels_in_train, left_out)
        if is_phrases and phrases.neutral_share < 1:
            kept = _draw_neutral(kept, rows["label"][:], task, phrases.neutral_share, rng, left_out)
        table = take_rows(rows, np.array(kept, dtype=np.int64))
        labels_in_train |= zip(text_keys(table), table["label"][:], strict=True)
        has_ids = split.columns.id is not None and not is_phrases
        tables.append(table if has_ids else _with_file_in_ids(table, source.path))
        rejected += split.rejected
        rejected += [RejectedRow.of(source.name, lines[i], reason, rows[i]) for i, reason in leaks.items()]
        counts.append(ExtraRows(source.name, len(rows), len(kept), {k: n for k, n in left_out.items() if n}))
        notices += [*split.notices, *([] if is_phrases else [f"{source.name}: columns {split.columns}"])]
        notices.append(str(counts[-1]))
        if leaks:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in Counter(leaks.values()).most_common())
            logger.warning(f"{len(leaks):,} of {len(rows):,} rows of {source.name} left out: {reasons}")
    return replace(
        loaded,
        splits=DatasetDict({**loaded.splits, "train": concatenate_datasets(tables)}),
        rejected=[*loaded.rejected, *rejected],
        notices=[*loaded.notices, *notices],
        extra=tuple(counts),
    )


def letters_and_digits(text: str) -> str:
    """
    Returns the letters and digits of a text, ignoring case: equal for texts that differ in spaces or punctuation.

    Example:
        >>> letters_and_digits("It 's GOOD !") == letters_and_digits("it's good"), letters_and_digits(" ?! ")
        (True, '?!')
    """
    return text.casefold().translate(_KEPT) or "".join(text.split())


class _Kept(dict[int, int | None]):
    """The characters that [`letters_and_digits`] keeps, with the marks that are part of letters."""

    def __missing__(self, code: int) -> int | None:
        self[code] = code if unicodedata.category(chr(code))[0] in "LNM" else None
        return self[code]


_KEPT = _Kept()


def _sources(
    loaded: LoadedData, files: Sequence[str | Path], own_trees: Path | None, phrases: Phrases | None
) -> list[tuple[Source, bool]]:
    """Returns the sources, and whether each has phrases: the phrases of a file follow its rows."""
    sources = []
    if phrases is not None and own_trees is not None and has_trees(own_trees):
        lines = set(loaded.splits["train"]["line"][:])  # without the trees that are in dev
        sources.append((_phrases_of(own_trees, phrases, lines), True))
    for file in map(Path, files):
        if not file.is_file():
            what = "a folder" if file.is_dir() else "no such file"
            raise InputError(f"`extra_train` must be files of rows, got {str(file)!r}: {what}.")
        sources.append((file_source(loaded.task, file), False))
        if phrases is not None and has_trees(file):
            sources.append((_phrases_of(file, phrases), True))
    if phrases is not None and not any(is_phrases for _, is_phrases in sources):
        raise InputError(
            "`phrases` needs a .txt file of trees, such as (3 (2 A) (3 (3 good) (2 film))), in `data` or "
            f"`extra_train` of the task {loaded.task.name!r}, got none."
        )
    return sources


def _phrases_of(path: Path, phrases: Phrases, lines: Container[int] | None = None) -> Source:
    def read() -> Rows:
        rows = (row for row in read_phrases(path, phrases.min_words) if lines is None or row[0] in lines)
        first = next(rows, None)
        if first is None:
            raise InputError(
                f"`phrases` must be the number of words of some phrase in {path.name}, or less, got "
                f"{phrases.min_words}: all phrases are shorter."
            )
        return chain([first], rows)

    return Source(f"phrases of {path.name}", read, path)


def _texts(rows: Dataset) -> Iterator[tuple[str, ...]]:
    return zip(*(rows[name][:] for name in SENTENCE_COLUMNS if name in rows.column_names), strict=True)


def _sentences_of_others(loaded: LoadedData) -> dict[str, str]:
    """Returns the sentences of dev and test, each with the name of its split."""
    splits = [split for split in ("test", "dev") if split in loaded.splits]
    return {
        letters_and_digits(text): split for split in splits for texts in _texts(loaded.splits[split]) for text in texts
    }


def _leaks(rows: Dataset, others: Mapping[str, str]) -> dict[int, str]:
    """Returns by index of the row why it must not be a train row."""
    leaks = {}
    for index, texts in enumerate(_texts(rows)):
        for text in map(letters_and_digits, texts):
            if text in others:
                leaks[index] = f"also in {others[text]}" if len(texts) == 1 else f"with a sentence of {others[text]}"
                break
    return leaks


def _lines_of(rows: Dataset, leaks: Mapping[int, str]) -> dict[int, str]:
    lines = rows["line"][:]
    return {lines[index]: reason for index, reason in leaks.items()}


def _new_texts(
    rows: Dataset, leaks: Container[int], labels_in_train: Mapping[TextKey, float], left_out: Counter[str]
) -> list[int]:
    """Returns the index of a row for each text that is not in train, and counts the other rows in `left_out`."""
    labels = rows["label"][:]
    by_text: dict[TextKey, list[int]] = {}
    for index, key in enumerate(text_keys(rows)):
        if index in leaks:
            continue
        if key in labels_in_train:
            same = labels_in_train[key] == labels[index]
            left_out["already in train" if same else "already in train with another label"] += 1
        else:
            by_text.setdefault(key, []).append(index)
    kept = []
    for indices in by_text.values():
        if len(indices) == 1:  # most of them
            kept += indices
            continue
        counts = Counter(labels[index] for index in indices)
        label, count = counts.most_common(1)[0]
        kept.append(next(index for index in indices if labels[index] == label))
        left_out["repeated"] += count - 1
        left_out["repeated with another label"] += len(indices) - count
    return kept


def _draw_neutral(
    kept: Sequence[int],
    labels: Sequence[float],
    task: TaskSpec,
    share: float,
    rng: np.random.Generator,
    left_out: Counter[str],
) -> list[int]:
    """Keeps a share of the phrases with the middle class, and counts the others in `left_out`."""
    number = len(task.class_names)
    if task.is_regression or number % 2 == 0:
        raise InputError(
            f"`neutral_phrases` needs a neutral class in the middle of an odd number of classes, got {number} classes."
        )
    neutral = [index for index in kept if labels[index] == number // 2]
    dropped = set(rng.permutation(neutral)[round(share * len(neutral)) :].tolist())
    left_out["neutral and not drawn"] += len(dropped)
    return [index for index in kept if index not in dropped]


def _with_file_in_ids(rows: Dataset, file: Path) -> Dataset:
    """Puts the file before ids that are made of lines, which rows of other files may have too."""
    table = rows.data.table
    ids = pa.array([f"{file.name}:{row_id}" for row_id in rows["id"][:]], pa.string())
    return Dataset(table.set_column(table.column_names.index("id"), table.schema.field("id"), ids))

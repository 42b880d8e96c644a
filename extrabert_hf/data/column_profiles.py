"""Describes the columns of a file by their values: texts, class names, whole numbers, scores, dates, links, ids."""

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from extrabert_hf.data.labels import BadValueError, label_text, score_numbers, words_of
from extrabert_hf.data.reading import BATCH_SIZE
from extrabert_hf.data.rejected_rows import RejectedRow, Rows
from extrabert_hf.errors import shorten

Kind = Literal["empty", "constant", "lists", "date", "link", "id", "fractions", "integers", "text", "words", "names"]
"""
What the values of a column are. `"words"` are short strings that hardly repeat, such as the names of persons;
`"names"` are strings of few different values, such as classes.
"""

MOST_VALUES = 5000
"""Number of different values of a column after which no further rows of the column are counted."""
MOST_SHARE = 0.9
"""A column is of a kind if at least this share of its values is; the others count as typing errors."""
FEW_NAMES = 20
"""Number of different strings that a column of names may have, however few rows there are."""
LARGEST_SCORE = 1000
"""Numbers that hardly repeat may be scores if none is larger than this; otherwise they are ids."""
WORDS_OF_TEXT = 3
"""Mean number of words from which strings are texts."""
RELATIONS = {
    *("same", "different", "not same", "duplicate", "not duplicate", "paraphrase", "not paraphrase", "match"),
    *("no match", "similar", "not similar", "dissimilar", "related", "not related", "unrelated", "equivalent"),
    *("not equivalent", "entailment", "not entailment", "contradiction", "gleich", "verschieden", "unsure"),
}
"""Labels that compare two sentences, as [`words_of`] returns them."""

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( .*)?|\d{1,2}:\d{2}(:\d{2})?.*|"
    r"([A-Z][a-z]{2,8}\.? )?\d{1,2}\.? ?([A-Z][a-z]{2,8}\.?)?,? \d{4}"
)
_LINK = re.compile(r"(https?://|www\.)\S+|\S+@\S+\.\w+|(\.{0,2}/)?[\w.-]+(/[\w.-]+)+\.\w{2,4}")
_CODE = re.compile(r"(?=.*\d)[\w.:-]+|[0-9a-fA-F-]{16,}")


@dataclass
class ColumnProfile:
    """
    The values of a column.

    Args:
        name (`str`):
            Name of the column.
        values (`Counter[str]`):
            Number of rows by value, as [`label_text`] returns the value; at most [`MOST_VALUES`] values.
        missing (`int`):
            Number of rows without a value.
        lists (`int`):
            Number of rows with a list or an object as value.
    """

    name: str
    values: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    lists: int = 0

    def add(self, raw: Any) -> None:
        """Counts a value."""
        try:
            text = label_text(raw)
        except BadValueError:
            if not isinstance(raw, datetime.date | datetime.time):
                self.lists += 1
                return
            text = str(raw)
        if text is None:
            self.missing += 1
        else:
            self.values[text] += 1

    @property
    def is_full(self) -> bool:
        """Whether the column has too many different values to look at all rows."""
        return len(self.values) >= MOST_VALUES

    @cached_property
    def rows(self) -> int:
        """Number of counted rows with a value that is text or a number."""
        return self.values.total()

    @cached_property
    def numbers(self) -> list[float] | None:
        """The different values as numbers; `None` if less than [`MOST_SHARE`] of the rows have a number."""
        read = score_numbers(self.values)
        numbers = {text: number for text in self.values if (number := read(text)) is not None}
        is_numeric = self.rows > 0 and sum(self.values[text] for text in numbers) >= MOST_SHARE * self.rows
        return list(numbers.values()) if is_numeric else None

    @cached_property
    def mean_words(self) -> float:
        """Mean number of words of the different values; a word of Chinese, Japanese, Korean or Thai is 2 letters."""
        words = [len(text.split()) + len(_CJK.findall(text)) // 2 for text in self.values]
        return sum(words) / max(1, len(words))

    @cached_property
    def kind(self) -> Kind:
        """What the values are."""
        if not self.values:
            return "lists" if self.lists else "empty"
        if len(self.values) == 1 and self.rows > 1:
            return "constant"
        if self.numbers is not None:
            return self._kind_of_numbers(self.numbers)
        for pattern, kind in ((_DATE, "date"), (_LINK, "link")):
            if self._share_of(pattern) >= MOST_SHARE:
                return kind
        return self._kind_of_strings()

    @property
    def is_relation(self) -> bool:
        """Whether the values are words such as same and different, which compare two sentences."""
        words = sum(count for text, count in self.values.items() if words_of(text) in RELATIONS)
        return self.rows > 0 and words >= MOST_SHARE * self.rows

    def __str__(self) -> str:
        values = sorted(self.values, key=self.values.get, reverse=True)
        if len(values) == 1:
            return repr(shorten(values[0], 40))
        number = f"{len(values):,}{' or more' * self.is_full} different values"
        return f"{number}, such as {', '.join(repr(shorten(value, 40)) for value in values[:3])}"

    def _kind_of_numbers(self, numbers: Sequence[float]) -> Kind:
        if not all(map(float.is_integer, numbers)):
            return "fractions"
        is_sequence = max(numbers) - min(numbers) == len(numbers) - 1
        are_different = len(numbers) == self.rows and (is_sequence or self.rows >= FEW_NAMES)
        is_large = max(map(abs, numbers)) > LARGEST_SCORE
        return "id" if are_different or (is_large and self._hardly_repeats()) else "integers"

    def _kind_of_strings(self) -> Kind:
        share = len(self.values) / self.rows
        if self.mean_words >= WORDS_OF_TEXT and (len(self.values) > FEW_NAMES or share > 0.5):
            return "text"
        if self._hardly_repeats() and self.mean_words < 1.5 and self._share_of(_CODE) >= MOST_SHARE:
            return "id"
        if share > 0.5 and (self.mean_words >= 1.5 or len(self.values) > FEW_NAMES):
            return "text" if self.mean_words >= 2 else "words"
        if self.is_full:
            return "words"
        return "names"

    def _hardly_repeats(self) -> bool:
        return len(self.values) > FEW_NAMES and 2 * len(self.values) > self.rows

    def _share_of(self, pattern: re.Pattern) -> float:
        return sum(pattern.fullmatch(text) is not None for text in self.values) / len(self.values)


def profile_columns(
    rows: Rows, names: Sequence[str], most_values: int | None = MOST_VALUES
) -> tuple[dict[str, ColumnProfile], int]:
    """
    Counts the values of columns in all rows; of a column with too many different values, only in the first rows.

    Args:
        rows (iterator over [`ReadRow`]s):
            The rows; rejected rows are left out.
        names (`Sequence[str]`):
            Names of the columns.
        most_values (`int`, *optional*, defaults to [`MOST_VALUES`]):
            Number of different values after which a column is no longer counted; `None` counts all rows.

    Returns:
        `tuple[dict[str, ColumnProfile], int]`: the profiles by column, in the order of `names`, and the number of
        rows.
    """
    profiles = {name: ColumnProfile(name) for name in names}
    counted, total = list(profiles.values()), 0
    for read in rows:
        if isinstance(read, RejectedRow):
            continue
        row, total = read[1], total + 1
        for profile in counted:
            profile.add(row.get(profile.name))
        if most_values is not None and total % BATCH_SIZE == 0:
            counted = [profile for profile in counted if len(profile.values) < most_values]
    return profiles, total

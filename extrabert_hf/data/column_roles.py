"""Decides which columns of a file are sentences and which is the label: by flags, by names, and then by values."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from extrabert_hf.data.column_names import (
    COLUMNS_SHOWN,
    LABELS,
    LABELS_OF_TASKS,
    SENTENCES,
    is_other,
    listed,
    pairs_of_names,
    plain_name,
    third_of_names,
)
from extrabert_hf.data.column_profiles import ColumnProfile
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import COLUMN_FIELDS, class_number

MOST_INTEGER_CLASSES = 20
"""Number of different whole numbers up to which the labels of single sentences are classes."""
MOST_WORDS = 6
"""Number of words that the name of a column may have; more are a sentence."""


@dataclass(frozen=True)
class Given:
    """
    What the flags of the user set: columns, labels and head.

    Args:
        columns (`dict[str, str]`):
            Names of columns by field of [`TaskSpec`], such as `"label_column"`.
        head (`str`, *optional*):
            The head.
        has_classes (`bool`):
            Whether there are classes: `class_names` or `num_labels`.
        has_range (`bool`):
            Whether there is a range of scores: `label_min` or `label_max`.
    """

    columns: dict[str, str]
    head: str | None = None
    has_classes: bool = False
    has_range: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Given":
        """Selects the entries that are set from the values of arguments by name."""
        given = {name: value for name, value in values.items() if value is not None}
        columns = {name: given[name] for name in COLUMN_FIELDS if name in given}
        has_classes, has_range = ("class_names", "num_labels"), ("label_min", "label_max")
        return cls(
            columns, given.get("head"), *(any(map(given.__contains__, names)) for names in (has_classes, has_range))
        )

    def __post_init__(self) -> None:
        if self.head not in (None, "sentiment", "paraphrase", "similarity"):
            raise InputError(f"`head` must be one of 'sentiment', 'paraphrase', 'similarity', got {self.head!r}.")
        if self.head == "sentiment" and "sentence2_column" in self.columns:
            raise InputError("`head` 'sentiment' is for one sentence: leave out `--sentence2_column`, or the head.")
        if self.wants_classes and self.wants_scores:
            raise InputError(
                "`class_names`, `num_labels` and the heads 'sentiment' and 'paraphrase' are for classes, `label_min`, "
                "`label_max` and the head 'similarity' for scores: give flags for one of the two."
            )

    @property
    def wants_classes(self) -> bool:
        """Whether the labels must be classes."""
        return self.head in ("sentiment", "paraphrase") or self.has_classes

    @property
    def wants_scores(self) -> bool:
        """Whether the labels must be scores."""
        return self.head == "similarity" or self.has_range

    @property
    def wants_pairs(self) -> bool:
        """Whether a row must have two sentences."""
        return "sentence2_column" in self.columns or self.head == "paraphrase" or self.wants_scores


@dataclass(frozen=True)
class ColumnRoles:
    """
    The choice of the columns of a file. Where the choice is not clear, a method raises an [`InputError`] with flags.

    Args:
        profiles (`Mapping[str, ColumnProfile]`):
            The profile of each column, in the order of the file.
        source (`str`):
            Name of the file in messages.
        given ([`Given`]):
            The flags of the user.
    """

    profiles: Mapping[str, ColumnProfile]
    source: str
    given: Given

    # Label

    def label_by_name(self) -> str | None:
        """Returns the label column that a flag names or that has a known name; `None` if there is none."""
        if "label_column" in self.given.columns:
            return self.given.columns["label_column"]
        free = [name for name in self.profiles if name not in self.given.columns.values()]
        usable = [name for name in free if self.profiles[name].kind not in ("empty", "date", "link", "text")]
        surest = [name for wanted in LABELS for name in usable if plain_name(name) == wanted]
        if fitting := [name for name in surest if self._fits_head(name)]:
            return fitting[0]
        known = [name for name in usable if plain_name(name) in LABELS_OF_TASKS or plain_name(name).startswith("is_")]
        known = [name for name in known if self._fits_head(name)] or known
        if len(known) > 1:
            self._several_labels(known)
        texts = [name for name in free if plain_name(name) in LABELS and self.profiles[name].kind == "text"]
        if not known and texts and not self._labels_by_values(free):
            return texts[0]  # refused as free text
        return next(iter(known or surest), None)

    def label_by_values(self, texts: Sequence[str]) -> str:
        """Returns the only column, other than those of the sentences, whose values can be labels."""
        free = [name for name in self.profiles if name not in (*texts, *self.given.columns.values())]
        candidates = self._labels_by_values(free)
        if len(texts) == 1:  # a score of one sentence has no head
            candidates = [name for name in candidates if not self._is_score(name)] or candidates
        if len(candidates) > 1:
            self._several_labels(candidates)
        if not candidates:
            lists = [name for name in free if self.profiles[name].kind == "lists"]
            if lists:
                several_labels_a_row(lists[0], self.source)
            if self.source.endswith(".txt"):
                raise InputError(f"{self.source} has no labels, as a .txt file has none: use a .csv file.")
            others = f"none of {listed(free)} looks like one" if free else "there is no other column"
            raise InputError(
                f"{self.source} has no column of labels beside {listed(texts)}: {others}. Name it with "
                "`--label_column`."
            )
        return candidates[0]

    def _labels_by_values(self, free: Sequence[str]) -> list[str]:
        kinds = ("names", "integers", "fractions")
        usable = [
            name
            for name in free
            if not is_other(name) and self.profiles[name].kind in kinds and plain_name(name) not in SENTENCES
        ]
        return [name for name in usable if self._fits_head(name)] or usable

    def _is_score(self, name: str) -> bool:
        numbers = self.profiles[name].numbers
        return numbers is not None and (self.profiles[name].kind == "fractions" or len(numbers) > MOST_INTEGER_CLASSES)

    def _fits_head(self, name: str) -> bool:
        if self.given.wants_scores:
            return self.profiles[name].numbers is not None
        return not self.given.wants_classes or self.profiles[name].kind != "fractions"

    def _several_labels(self, candidates: Sequence[str]) -> NoReturn:
        shown = [f"{name!r} ({self.profiles[name]})" for name in candidates[:COLUMNS_SHOWN]]
        raise InputError(
            f"{self.source} has several columns that can be the label: {', '.join(shown)}. Write "
            f"{flags_shown(*([('--label_column', name)] for name in candidates[:3]))}."
        )

    # Sentences

    def texts(self, label: str | None) -> tuple[str, ...]:
        """Returns the columns of the sentences, one or two; `label` is the column of the label, if it is known."""
        given = tuple(
            self.given.columns[flag] for flag in ("sentence1_column", "sentence2_column") if flag in self.given.columns
        )
        used = {*self.given.columns.values(), label} - {None}
        if len(given) == 2 or (given and not self.given.wants_pairs):
            return given
        strings = ("text", "words", "names")
        free = [name for name in self.profiles if name not in used and self.profiles[name].kind in strings]
        texts = [name for name in free if self.profiles[name].kind == "text" and not is_other(name)]
        if given:
            return self._with_partner(given[0], free, texts)
        if self.given.head != "sentiment":
            for pair in pairs_of_names(free):
                is_text = [self.profiles[name].kind == "text" for name in pair]
                if all(is_text) or (label is not None and set(texts) <= set(pair)):
                    if (third := third_of_names(pair, free)) is not None:
                        self._three_texts([*pair, third])
                    return pair
        if not self.given.wants_pairs and (named := [name for name in free if plain_name(name) in SENTENCES]):
            texts = texts if set(named) <= set(texts) else [*named, *(name for name in texts if name not in named)]
        texts = texts or self._short_texts(free, label)
        return self._choose_texts(texts, is_relation=label is not None and self.profiles[label].is_relation)

    def _with_partner(self, given: str, free: Sequence[str], texts: Sequence[str]) -> tuple[str, str]:
        """Returns a pair, one of which the user has named."""
        partner = [other for pair in pairs_of_names([*free, given]) for other in pair if given in pair]
        others = [name for name in partner if name != given] or list(texts)
        is_first = "sentence1_column" in self.given.columns
        missing = "sentence2_column" if is_first else "sentence1_column"
        if len(others) != 1 and not partner:
            raise InputError(f"{self.source} has {len(others)} columns for the other sentence: write `--{missing}`.")
        return (given, others[0]) if is_first else (others[0], given)

    def _choose_texts(self, texts: Sequence[str], *, is_relation: bool) -> tuple[str, ...]:
        words = {name: self.profiles[name].mean_words for name in texts}
        longest = max(words.values(), default=0)
        # such as names of persons and of places beside a review
        texts = [name for name in texts if words[name] >= 3 or 4 * words[name] >= longest]
        if not texts:
            raise InputError(
                f"{self.source} has no column of texts, its columns are {listed(list(self.profiles))}: name it with "
                "`--sentence1_column`."
            )
        if self.given.wants_pairs:
            if len(texts) == 2:
                return tuple(texts)
            raise InputError(
                f"{self.source} must have two columns of texts for this head, got {listed(texts)}: name them with "
                "`--sentence1_column` and `--sentence2_column`."
            )
        if len(texts) == 1:
            return (texts[0],)
        if self.given.head == "sentiment":
            flags = flags_shown(*([("--sentence1_column", name)] for name in texts[:3]))
            raise InputError(f"{self.source} has several columns of texts, {listed(texts)}: write {flags}.")
        if len(texts) > 2:
            self._three_texts(texts)
        first, second = texts
        if is_relation:
            return first, second
        flags = flags_shown([("--sentence1_column", first)], [("--sentence1_column", second)])
        pair = flags_shown([("--sentence1_column", first), ("--sentence2_column", second)])
        raise InputError(
            f"{self.source} has two columns of texts, {listed(texts)}: write {flags} for rows of one sentence, or "
            f"{pair} for pairs."
        )

    def _three_texts(self, texts: Sequence[str]) -> NoReturn:
        raise InputError(
            f"{self.source} has {len(texts)} columns of texts, {listed(texts)}, and a head takes one or two: name "
            f"one with `--sentence1_column`, or two with `--sentence1_column` and `--sentence2_column`."
        )

    def _short_texts(self, free: Sequence[str], label: str | None) -> list[str]:
        """Returns the columns of short strings that can be sentences, if the file has no longer texts."""
        words = [name for name in free if self.profiles[name].kind == "words" and not is_other(name)]
        strings = words or [name for name in free if not is_other(name)]
        return strings if label is not None or words else []

    def check_header(self, label: str | None = None) -> None:
        """Raises [`InputError`] if the names of columns look like the values of a first row."""
        is_numbered = list(self.profiles) == [str(index) for index in range(len(self.profiles))]
        if self.given.columns or is_numbered or not self.source.lower().endswith((".csv", ".tsv")):
            return
        sentences = [name for name in self.profiles if len(name.split()) > MOST_WORDS]
        numbers = [name for name in self.profiles if class_number(name) is not None]
        values = [*numbers, *([] if label is None else [label])]
        if sentences or any(name in self.profiles[name].values for name in values):
            raise InputError(
                f"{self.source} must start with a line of column names, its first line looks like a row: "
                f"{listed(list(self.profiles))}. Put a line such as `text,label` before it."
            )


def several_labels_a_row(column: str, source: str) -> NoReturn:
    """Raises [`InputError`] for a column with lists of labels."""
    raise InputError(
        f"the column {column!r} of {source} has several labels in a row, and no head predicts several: keep one label "
        "a row, name another column with `--label_column`, or write `--class_names auto` if each value is a class."
    )


def flags_shown(*choices: Sequence[tuple[str, str]]) -> str:
    """
    Shows what to type: the flags of each choice, with values.

    Example:
        >>> flags_shown([("--label_column", "stars")], [("--label_column", "my mood")])
        "`--label_column stars` or `--label_column 'my mood'`"
    """
    return " or ".join("`" + " ".join(f"{flag} {shlex.quote(name)}" for flag, name in each) + "`" for each in choices)

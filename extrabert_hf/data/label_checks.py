"""Checks all labels of a split before a row is used: how they are written, and whether the task has such labels."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from extrabert_hf.data.label_slips import counted_rows, find_slips
from extrabert_hf.data.labels import (
    TRUTH_WORDS,
    BadValueError,
    Label,
    label_reader,
    score_numbers,
    usual_range,
    without_negation,
    words_of,
)
from extrabert_hf.data.rejected_rows import RejectedRow
from extrabert_hf.data.validation import Columns
from extrabert_hf.errors import InputError, shorten
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec, class_number, fold_name

LabelUse = Literal["required", "optional"]
LabelCounts = Mapping[str | None, int]
"""Number of rows by label, as [`label_text`] returns the label; `None` is the key of rows without a label."""

HIDDEN_LABELS = ("none", "nan", "-1", "-1.0")
"""Values that mark a withheld label of a test row, unless the value is a label of the task. GLUE uses -1."""
MOST_CLASSES = 100
"""Number of different labels up to which a message lists the labels as classes."""
ENOUGH_ROWS = 25
"""Number of rows from which a class without a row, or a part of the range without a score, is no chance."""


@dataclass(frozen=True)
class SplitLabels:
    """
    The labels of a split, read together.

    Args:
        task (`TaskSpec`):
            The task.
        counts (`LabelCounts`):
            Number of rows by label.
        read (`dict`):
            By label, the class id or the score, `None` for a withheld label, or the [`BadValueError`] for a label that
            cannot be read.
    """

    task: TaskSpec
    counts: LabelCounts
    read: Mapping[str | None, Label | BadValueError | None]

    @classmethod
    def of(cls, labels: Sequence[str | None], task: TaskSpec, use: LabelUse) -> "SplitLabels":
        """
        Reads the labels of a split.

        Args:
            labels (`Sequence[str]`):
                The labels as [`label_text`] returns them, one for each row.
            task (`TaskSpec`):
                The task.
            use (`str`):
                With `"optional"`, a withheld label is read as `None`.
        """
        counts = Counter(labels)
        read_label = label_reader(task, counts)
        read: dict[str | None, Label | BadValueError | None] = {}
        for label in counts:
            try:
                read[label] = read_label(label)
            except BadValueError as error:
                is_hidden = use == "optional" and (label is None or label.lower() in HIDDEN_LABELS)
                read[label] = None if is_hidden else error
        return cls(task, counts, read)

    @property
    def unread(self) -> set[str | None]:
        """The labels that cannot be read."""
        return {label for label, value in self.read.items() if isinstance(value, BadValueError)}

    def take_unread(self, values: dict[str, list[Any]], columns: Columns, file: str) -> list[RejectedRow]:
        """Takes the rows whose labels cannot be read out of `values`, and returns them as rejected rows."""
        unread = self.unread
        if not unread:
            return []
        names = {role: name for role, name in vars(columns).items() if name is not None}
        rejected, kept = [], []
        for index, label in enumerate(values["label"]):
            if label not in unread:
                kept.append(index)
                continue
            row = {name: values[role][index] for role, name in names.items() if values[role][index] is not None}
            error = self.read[label]
            rejected.append(RejectedRow.of(file, values["line"][index], error.reason, row, error.value))
        for name, column in values.items():
            values[name] = [column[index] for index in kept] if column else []
        return rejected

    def lost(self, rejected: Sequence[RejectedRow], column: str | None) -> dict[str, int]:
        """
        Counts the rows of each label, or of each class, of which every row is rejected. A label of one row is a slip,
        and a text among scores is no label.

        Args:
            rejected (`Sequence[RejectedRow]`):
                The rows that are rejected for another reason than their labels.
            column (`str`, *optional*):
                Name of the label column.
        """
        lost = Counter({label: self.counts[label] for label in self.unread})
        if self.task.is_regression:
            as_score = score_numbers(self.counts)
            lost = Counter({label: lost[label] for label in lost if label and as_score(label) is not None})
        if not self.task.is_regression:
            read_label, used = label_reader(self.task, self.counts), set(self.read.values())
            for row in rejected:
                try:
                    index = read_label(row.row.get(column or ""))
                except BadValueError:
                    continue
                if index not in used:
                    lost[self.task.class_names[index]] += 1
        return {label: count for label, count in lost.most_common() if label is not None and count > 1}

    def advice(self, column: str | None, *, is_train: bool) -> str:
        """Returns in sentences what to type if labels cannot be read; empty if all can."""
        if not self.unread - {None}:
            return ""
        task = self.task
        if is_train:
            return _advice(self.counts, task, column)
        if task.is_regression:
            return "The scores of the task go from {:g} to {:g}.".format(*task.label_range)
        shown = ", ".join(f"{name!r} ({index})" for index, name in enumerate(task.class_names[:10]))
        return f"The classes of the task are {shown}{', ...' if len(task.class_names) > 10 else ''}."

    def check_coverage(self, file: str, *, is_train: bool) -> list[str]:
        """
        Checks that the labels are those of the task.

        Labels of fewer classes or of a smaller range can be read, but mean something else: 0 and 1 are not the first
        two of five classes.

        Args:
            file (`str`):
                Name of the file in messages.
            is_train (`bool`):
                Whether the rows are for training: then it is an error if the task has the classes or the range of a
                task of the paper, which the user has not chosen.

        Returns:
            `list[str]`: warnings, one line each.
        """
        used = {label: value for label, value in self.read.items() if isinstance(value, int | float)}
        if sum(self.counts[label] for label in used) < ENOUGH_ROWS:
            return []
        if self.task.is_regression:
            warnings = _check_scores(list(used.values()), self.task, file, is_train)
        else:
            warnings = _check_classes(used, self.task, file, is_train)
        return warnings + (find_slips(self.counts, used, self.task, file) if is_train else [])


def find_classes(counts: LabelCounts, file: str, column: str | None) -> tuple[str, ...]:
    """
    Returns the classes of a split, for a task with `class_names` "auto": numbers in their order, negations and words
    for false first, other names in the order of the alphabet.

    Args:
        counts (`LabelCounts`):
            The labels of the train rows.
        file (`str`):
            Name of the file in messages.
        column (`str`, *optional*):
            Name of the label column in messages.
    """
    labels = [label for label in counts if label is not None]
    by_folded: dict[str, str] = {}
    for label in labels:
        folded = fold_name(label)
        other = by_folded.setdefault(folded, _as_name(label))
        if other != _as_name(label):
            both = " and ".join(f"{name!r} ({counted_rows(counts.get(name, 0))})" for name in (other, label))
            names = _shown_names(counts) or "and the name of each class once"
            raise InputError(
                f"{file} has the labels {both}: classes must differ by more than case or spaces. If these are one "
                f"class, write `--class_names {names}`."
            )
    if _are_many(counts):
        raise InputError(f"{file} must have classes in its label column, got {_many_labels(counts, column)}.")
    if len(by_folded) < 2:
        raise InputError(f"{file} must have train rows of at least 2 classes, got {', '.join(map(repr, by_folded))}.")
    return tuple(_in_order(by_folded.values()))


def _advice(counts: LabelCounts, task: TaskSpec, column: str | None) -> str:
    """Returns what to type for the labels of train rows, some of which cannot be read."""
    labels = [label for label in counts if label is not None]
    numbers = list(map(score_numbers(labels) if task.is_regression else class_number, labels))
    scores = [number for number in numbers if number is not None and math.isfinite(number)]
    if task.is_regression:
        unread = [label for label, number in zip(labels, numbers, strict=True) if number is None]
        if any(re.search(r"\d", label) for label in unread):
            return "Scores must be plain numbers that are all written in one way, such as 2.5."
        if 2 * len(scores) < len(labels):
            return "A score must be a number: `extrabert train para` trains on classes of pairs."
        flags = _range_flags(task, min(scores), max(scores))
        return f"The labels go from {min(scores):g} to {max(scores):g}" + (f": write `{flags}`." if flags else ".")
    if len(scores) == len(labels) and not all(map(float.is_integer, scores)):
        return "A class must not be a fraction: `extrabert train sts` trains on scores of pairs."
    if _are_many(counts) or len(labels) > MOST_CLASSES:
        return f"There are {_many_labels(counts, column)}."
    if not (names := _shown_names(counts)):
        return "If the labels are the classes, write `--class_names auto`."
    return f"If the labels are the classes, write `--class_names {names}` or `--class_names auto`."


def _shown_names(counts: LabelCounts) -> str:
    """Returns the classes as words of a command line, each in its most frequent form; empty if they are too long."""
    frequent_last = sorted((label for label in counts if label is not None), key=counts.__getitem__)
    names = shlex.join(_in_order({fold_name(label): _as_name(label) for label in frequent_last}.values()))
    return names if names.isprintable() and len(names) <= 500 else ""


def _check_classes(used: Mapping[str, int], task: TaskSpec, file: str, is_train: bool) -> list[str]:
    merged = [", ".join(map(repr, names)) for names in _merged_names(used)]
    warnings = [f"{file} has labels that are read as one class: {'; '.join(merged[:10])}"] if merged else []
    missing = [index for index in range(len(task.class_names)) if index not in used.values()]
    if not missing:
        return warnings
    are_ids = not any(class_number(label) is None for label in used)
    are_ids = are_ids and all(class_number(name) is None for name in task.class_names)
    names = ", ".join(repr(task.class_names[index]) for index in missing[:MOST_CLASSES])
    missed = f"no row of {file} has the class{'es' if len(missing) > 1 else ''} {names}"
    if is_train and are_ids and _is_of_paper(task) and {0, len(task.class_names) - 1} & set(missing):
        labels = _in_order(dict.fromkeys(map(_as_name, used)))
        raise InputError(
            f"{missed}: its labels are {', '.join(labels)}, class ids are 0 to {len(task.class_names) - 1}. "
            f"Write `--class_names {shlex.join(labels)}`, or name these classes in this order."
        )
    return [*warnings, missed] if is_train or are_ids else warnings


def _check_scores(scores: list[float], task: TaskSpec, file: str, is_train: bool) -> list[str]:
    low, high = task.label_range
    least, most, seventh = min(scores), max(scores), (high - low) / 7
    found, flags, in_quarter = _compare_ranges(scores, task, file)
    if is_train and flags and _is_of_paper(task) and in_quarter:
        raise InputError(f"{found}: write `{flags}`.")
    if not is_train:  # few rows may lack the ends of the range, and the model's range stays
        return [found] if in_quarter else []
    is_smaller = flags and (most < high - seventh or least > low + seventh)
    return [f"{found}: should it be `{flags}`?"] if is_smaller else []


def refuse_other_range(scores: Sequence[float], task: TaskSpec, file: str) -> None:
    """
    Refuses scores of [`ENOUGH_ROWS`] or more rows of `file` that are in another unit than those of a trained model.

    Raises:
        [`InputError`]: as for the train rows of a similarity task, if all scores are in the lowest or the highest
            quarter of the range of the model's task, and their usual range is another one.
    """
    found, flags, in_quarter = _compare_ranges(scores, task, file)
    if len(scores) >= ENOUGH_ROWS and flags and in_quarter:
        raise InputError(f"{found}: write the scores in this range, or train a model with `{flags}`.")


def _compare_ranges(scores: Sequence[float], task: TaskSpec, file: str) -> tuple[str, str, bool]:
    """Returns both ranges in words, the flags for that of the scores, and whether a quarter has all scores."""
    (low, high), least, most = task.label_range, min(scores), max(scores)
    found = f"the labels of {file} go from {least:g} to {most:g}, the range of the task from {low:g} to {high:g}"
    quarter = (high - low) / 4
    return found, _range_flags(task, least, most), most <= low + quarter or least >= high - quarter


def _is_of_paper(task: TaskSpec) -> bool:
    return any(
        (task.head, task.class_names, task.label_range) == (known.head, known.class_names, known.label_range)
        for known in PAPER_TASKS.values()
    )


def _merged_names(used: Mapping[str, int]) -> list[list[str]]:
    """Returns the labels, other than numbers, that are read as one class though they differ."""
    by_class: dict[int, list[str]] = {}
    for label, index in used.items():
        if class_number(label) is None:
            by_class.setdefault(index, []).append(label)
    return [names for names in by_class.values() if len(names) > 1]


def _range_flags(task: TaskSpec, least: float, most: float) -> str:
    """Returns the flags for the usual range of scores from `least` to `most`; empty if the task has this range."""
    low, high = usual_range(least, most)
    flags = [("--label_min", low, task.label_range[0]), ("--label_max", high, task.label_range[1])]
    return " ".join(f"{flag} {end:.15g}" for flag, end, own in flags if end != own)


def _in_order(labels: Iterable[str]) -> list[str]:
    """
    Sorts labels: numbers, then names, with numbers in names by their size; a negation and a word for false come
    before the other class.
    """

    def key(label: str) -> tuple[float, list[tuple[float, str]], int, str]:
        number, positive, words = class_number(label), without_negation(label), words_of(label)
        if words in TRUTH_WORDS:
            return math.inf, [], TRUTH_WORDS[words], label
        parts = [(float(part or "inf"), text) for part, text in re.findall(r"(\d{1,9})|(\D+|\d)", positive or words)]
        return math.inf if number is None else number, parts, int(positive is None), label

    return sorted(labels, key=key)


def check_several_classes(classes: Sequence[int], task: TaskSpec, source: str) -> None:
    """Raises [`InputError`] for train rows, whose class ids are `classes`, of a single class."""
    if len(classes) < 2 and not task.is_regression:
        only = task.class_names[classes[0]]
        raise InputError(f"{source} must have train rows of at least 2 classes, got {only!r} alone.")


def _as_name(label: str) -> str:
    """Returns a label as a class name; a number has the same name in all its forms."""
    return label if class_number(label) is None else fold_name(label)


def _are_many(counts: LabelCounts) -> bool:
    """Returns whether most labels are those of one or two rows, as ids and texts are."""
    return len(counts) > 20 and 2 * len(counts) > sum(counts.values())


def _many_labels(counts: LabelCounts, column: str | None) -> str:
    labels = [label for label in counts if label is not None]
    shown = ", ".join(repr(shorten(label, 40)) for label in labels[:2])
    return (
        f"{len(labels):,} different values in the column {column!r}, such as {shown}: name another column with "
        "`--label_column`"
    )

"""
Finds the columns of the sentences and of the label in a user's file, and the head for them.

Flags of the user come first, then names of columns, then the values. If two choices are plausible, the error names the
flags for each choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from extrabert_hf.data.column_names import CLASSES, SCORES, listed, plain_name
from extrabert_hf.data.column_profiles import ColumnProfile, profile_columns
from extrabert_hf.data.column_roles import MOST_INTEGER_CLASSES, ColumnRoles, Given, several_labels_a_row
from extrabert_hf.data.label_checks import usual_range
from extrabert_hf.data.loading import open_columns
from extrabert_hf.data.sources import Source
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import AUTO_CLASSES, PAPER_TASKS, Head, TaskSpec

MOST_CLASSES = 1000
"""Number of classes up to which labels are classes without `--class_names auto`."""


@dataclass(frozen=True)
class Inspection:
    """
    The result of [`inspect_source`]: columns and head of a user's file.

    Args:
        source (`str`):
            Name of the file, or of the Hub's split.
        head (`str`):
            The head for the rows, as in [`TaskSpec`].
        columns (`dict[str, str]`):
            By field of [`TaskSpec`], such as `"label_column"`, the name of the column.
        present (`tuple[str, ...]`):
            The names of all columns of the file.
        label_range (`tuple[float, float]`, *optional*):
            The usual range that the scores of the train rows are in; `None` for classes.
    """

    source: str
    head: Head
    columns: dict[str, str]
    present: tuple[str, ...]
    label_range: tuple[float, float] | None = None

    def task(self, name: str) -> TaskSpec:
        """
        Returns the task of the rows, with the classes of the train rows.

        A file of dev or test rows may have other names of columns: if it lacks one of these, the well-known names are
        tried.
        """
        paper_task = next(task for task in PAPER_TASKS.values() if task.head == self.head)
        task = replace(
            paper_task,
            name=name,
            class_names=() if self.label_range else AUTO_CLASSES,
            label_range=self.label_range or paper_task.label_range,
            course_stem=None,
            hub_dataset=None,
            hub_config=None,
        )
        return replace(task.with_columns(self.columns), remembered_columns=tuple(self.columns))


def inspect_source(source: Source, values: Mapping[str, Any] | None = None) -> Inspection:
    """
    Inspects the train rows of a user's task.

    Args:
        source (`Source`):
            The train rows.
        values (`Mapping[str, Any]`, *optional*):
            The values of the arguments `sentence1_column`, `sentence2_column`, `label_column`, `id_column`, `head`,
            `class_names`, `num_labels`, `label_min`, `label_max`; what is `None` is searched in the rows.

    Raises:
        [`InputError`]: if the rows fit no head, or if several choices are plausible: then the message names the
            flags for each.
    """
    present, rows = open_columns(source)
    profiles, _ = profile_columns(rows, [name for name in present if name])
    found = inspect_columns(profiles, source.name, values)
    label = found.columns["label_column"]
    if found.label_range is not None and profiles[label].is_full:  # not all of its rows were counted
        profiles, _ = profile_columns(source.read(), [label], most_values=None)
        found = replace(found, label_range=_range_of(profiles[label]))
    return found


def inspect_columns(
    profiles: Mapping[str, ColumnProfile], source: str, values: Mapping[str, Any] | None = None
) -> Inspection:
    """
    Inspects columns, see [`inspect_source`].

    Args:
        profiles (`Mapping[str, ColumnProfile]`):
            The profile of each column by name.
        source (`str`):
            Name of the file in messages.
        values (`Mapping[str, Any]`, *optional*):
            As for [`inspect_source`].
    """
    given = Given.of(values or {})
    for flag, column in given.columns.items():
        if column not in profiles:
            raise InputError(f"`--{flag}` must name a column of {source} ({listed(list(profiles))}), got {column!r}.")
    roles = ColumnRoles(profiles, source, given)
    roles.check_header()
    name = roles.label_by_name()
    texts = roles.texts(name)
    label = profiles[name or roles.label_by_values(texts)]
    roles.check_header(label.name)
    check_label(label, source, given)
    head = find_head(texts, label, source, given)
    columns = dict(zip(("sentence1_column", "sentence2_column"), texts, strict=False))
    columns |= {"label_column": label.name} | given.columns
    return Inspection(source, head, columns, tuple(profiles), _range_of(label) if head == "similarity" else None)


def check_label(label: ColumnProfile, source: str, given: Given) -> None:
    """Raises [`InputError`] for labels that no head can be trained on."""
    name, number = label.name, len(label.values)
    if label.lists:
        several_labels_a_row(name, source)
    if not number:
        raise InputError(f"the column {name!r} of {source} has no labels: name another one with `--label_column`.")
    if number == 1:
        raise InputError(
            f"{source} must have train rows with at least 2 different labels, the column {name!r} has "
            f"{label} alone: name another one with `--label_column`."
        )
    if label.numbers is not None or given.has_classes:
        return
    if _are_combined(label):
        several_labels_a_row(name, source)
    if label.kind in ("text", "words", "date", "link", "id"):
        what = "free text" if label.kind in ("text", "words") else f"values of the kind {label.kind!r}"
        raise InputError(
            f"the column {name!r} of {source} has {what}, not classes ({label}): name the "
            "column of the labels with `--label_column`."
        )
    if number > MOST_CLASSES:
        raise InputError(
            f"the column {name!r} of {source} has {label}: more than {MOST_CLASSES:,} classes "
            "need `--class_names auto`; `--label_column` names another column."
        )


def find_head(texts: Sequence[str], label: ColumnProfile, source: str, given: Given) -> Head:
    """
    Returns the head for a label of sentences or of pairs.

    Args:
        texts (`Sequence[str]`):
            The columns of the sentences, one or two.
        label ([`ColumnProfile`]):
            The labels.
        source (`str`):
            Name of the file in messages.
        given ([`Given`]):
            The flags of the user.
    """
    if len(texts) == 1 and (given.wants_scores or (not given.wants_classes and label.kind == "fractions")):
        raise InputError(
            f"the label {label.name!r} of {source} is a score ({label}), and no head scores "
            "one sentence: put the scores into classes, such as low and high, in a column of their own, or write "
            "`--class_names auto` if each number is a class."
        )
    if given.wants_scores and label.numbers is None:
        raise InputError(
            f"the label {label.name!r} of {source} must have numbers for the head 'similarity', got "
            f"{label}: write `--head paraphrase` for classes of pairs, or name another column."
        )
    classes: Head = "sentiment" if len(texts) == 1 else "paraphrase"
    if given.wants_classes or label.numbers is None:
        return classes
    if given.wants_scores or label.kind == "fractions":
        return "similarity"
    return _head_of_integers(texts, label, classes, source)


def _head_of_integers(texts: Sequence[str], label: ColumnProfile, classes: Head, source: str) -> Head:
    """
    Returns the head for labels that are whole numbers.

    Two different numbers are classes. For one sentence, up to [`MOST_INTEGER_CLASSES`] different numbers are classes;
    for more, an [`InputError`] asks for a flag. For pairs, more are scores; for fewer, the name of the column decides
    ([`SCORES`], [`CLASSES`]), or else an [`InputError`] asks for a flag.
    """
    number, name = len(set(label.numbers or ())), plain_name(label.name)
    if number == 2 or (len(texts) == 1 and number <= MOST_INTEGER_CLASSES):
        return classes
    found = f"the labels {label.name!r} of {source} are whole numbers ({label})"
    if len(texts) == 1:
        raise InputError(
            f"{found}: write `--class_names auto` if they are classes. If they are scores, no head scores one "
            "sentence: put the scores into classes in a column of their own."
        )
    if number > MOST_INTEGER_CLASSES or name in SCORES:
        return "similarity"
    if name in CLASSES or (number == 3 and plain_name(texts[0]) == "premise"):
        return "paraphrase"
    raise InputError(
        f"{found}, which can be classes or scores of pairs: write `--head paraphrase` for classes, or `--head "
        "similarity` for scores."
    )


def _range_of(label: ColumnProfile) -> tuple[float, float]:
    return usual_range(min(label.numbers or [0]), max(label.numbers or [1]))


def _are_combined(label: ColumnProfile) -> bool:
    """Whether values such as "a;b" combine the labels of other rows."""
    for separator in (";", "|", ","):
        combined = [text for text in label.values if separator in text]
        parts = [part.strip() for text in combined for part in text.split(separator)]
        others = {text for text in label.values if separator not in text}
        repeated = sum(part in others or parts.count(part) > 1 for part in parts[:500])
        if combined and 2 * repeated > len(parts[:500]) and len(set(parts) | others) < len(label.values) + 1:
            return True
    return False

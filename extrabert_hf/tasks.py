"""The description of a task: labels, columns and metric. The three tasks of the paper."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from extrabert_hf.errors import InputError

Head = Literal["sentiment", "paraphrase", "similarity"]
SENTENCE_COLUMNS = ("sentence1", "sentence2")
"""Names of the sentence columns of every data set after it is read."""
COLUMN_FIELDS = ("sentence1_column", "sentence2_column", "label_column", "id_column")
"""The fields of [`TaskSpec`] that name the columns of a file."""

AUTO_CLASSES = ("auto",)
"""The `class_names` of a task that gets its classes from the labels of its train rows."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
"""Numbers whose comma can separate thousands: it is never read as a decimal comma without other numbers."""


def as_number(text: str) -> float | None:
    """
    Reads a number; returns `None` for a text that is no number, `"nan"` and `"inf"` included.

    Example:
        >>> as_number("1"), as_number(" 1.0 "), as_number("\N{MINUS SIGN}1"), as_number("1_0"), as_number("nan")
        (1.0, 1.0, -1.0, None, None)
    """
    text = text.strip().replace("\N{MINUS SIGN}", "-")
    return float(text) if NUMBER.fullmatch(text) else None


def class_number(label: str) -> float | None:
    """
    Reads a class name or a class id that is a number, also with a decimal comma; returns `None` for other names.

    Example:
        >>> class_number("1"), class_number("1,0"), class_number("1,000"), class_number("one")
        (1.0, 1.0, None, None)
    """
    text = label.strip("\ufeff\u200b ").replace("\N{MINUS SIGN}", "-")
    has_comma = DECIMAL_COMMA.fullmatch(text) and not THOUSANDS.fullmatch(text)
    return as_number(text.replace(",", ".") if has_comma else text)


def fold_name(name: str) -> str:
    """
    Returns the form of a class name that is the same for other case, spaces, Unicode forms and number formats.

    Example:
        >>> fold_name(" Very  GOOD"), fold_name("1.0"), fold_name("1,0"), fold_name("1,000")
        ('very good', '1', '1', '1,000')
    """
    folded = " ".join(unicodedata.normalize("NFKC", name).strip("\ufeff\u200b").casefold().split())
    number = class_number(folded)
    return folded if number is None or math.isinf(number) else f"{number:.15g}"


def check_task_name(name: str) -> None:
    """Raises [`InputError`] for a name that cannot be a part of file names and of metric prefixes."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]{1,64}", name):
        raise InputError(
            f"`name` of a task (`--task_name`) must be at most 64 letters, digits, '_' or '-', got {str(name)[:80]!r}."
        )


@dataclass(frozen=True)
class TaskSpec:
    """
    A task, independent of the files that hold its rows.

    Args:
        name (`str`):
            Short id, used in metric prefixes and file names: `sst`, `para`, `sts`, or another name of letters, digits,
            `_` and `-`.
        head (`str`):
            `"sentiment"` classifies one sentence, `"paraphrase"` classifies a pair, `"similarity"` scores a pair.
        class_names (`tuple[str, ...]`):
            Class names in the order of their ids; empty for `"similarity"`. [`AUTO_CLASSES`] means the classes
            in the train rows until these are loaded.
        label_range (`tuple[float, float]`):
            Smallest and largest score of `"similarity"`; unused by the other heads.
        sentence1_column, sentence2_column, label_column, id_column (`str`, *optional*):
            Names of the columns in the files. `None` uses the first well-known name that a file has (see
            `data/validation.py`).
        remembered_columns (`tuple[str, ...]`):
            The column fields, such as `"label_column"`, that a trained model remembers from its training rows. If a
            file lacks such a column, the well-known names are tried.
        metric (`str`):
            Metric of `evaluation/metrics.py` that selects the best checkpoint.
        course_stem (`str`, *optional*):
            Start of the task's file names in a CS224N folder (`ids-sst` of `ids-sst-train.csv`).
        course_header (`str`, *optional*):
            Header of the prediction column in a CS224N submission file.
        hub_dataset, hub_config (`str`, *optional*):
            The Hub data set that is used without `--data`.
    """

    name: str
    head: Head
    class_names: tuple[str, ...] = ()
    label_range: tuple[float, float] = (0.0, 5.0)
    sentence1_column: str | None = None
    sentence2_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    remembered_columns: tuple[str, ...] = ()
    metric: str = "accuracy"
    course_stem: str | None = None
    course_header: str = "Predicted_Label"
    hub_dataset: str | None = None
    hub_config: str | None = None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "TaskSpec":
        """Builds a task from the result of `dataclasses.asdict`, also after JSON has turned tuples into lists."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return cls(**values)

    def __post_init__(self) -> None:
        check_task_name(self.name)
        if not isinstance(self.class_names, tuple | list) or not all(isinstance(n, str) for n in self.class_names):
            raise InputError(f"`class_names` must be a tuple of texts, got {self.class_names!r}.")
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "label_range", tuple(map(float, self.label_range)))  # a model takes no integers
        if self.head not in ("sentiment", "paraphrase", "similarity"):
            raise InputError(f"`head` must be one of 'sentiment', 'paraphrase', 'similarity', got {self.head!r}.")
        if self.is_regression and not self.label_range[0] < self.label_range[1]:
            low, high = self.label_range
            raise InputError(f"`label_min` must be below `label_max`, got {low} and {high}.")
        if not self.is_regression and len(self.class_names) < 2 and not self.has_auto_classes:
            raise InputError(f"`class_names` must name at least 2 classes, got {list(self.class_names)}.")
        if len(set(self.class_names)) != len(self.class_names):
            raise InputError(f"`class_names` must differ from each other, got {list(self.class_names)}.")
        by_folded: dict[str, str] = {}
        for name in self.class_names:
            if (other := by_folded.setdefault(fold_name(name), name)) != name:
                raise InputError(
                    "`class_names` must differ by more than case, spaces or the format of a number, because labels "
                    f"may be written either way, got {other!r} and {name!r}. Rename one of them in the data."
                )

    def with_columns(self, columns: Mapping[str, str | None]) -> "TaskSpec":
        """Returns the task with the given column names by field, such as `{"label_column": "stars"}`."""
        remembered = tuple(name for name in self.remembered_columns if name not in columns)
        return replace(self, **columns, remembered_columns=remembered)

    def without_missing_columns(self, present: Sequence[str]) -> "TaskSpec":
        """Returns the task without the remembered columns that are not among a file's columns `present`."""
        return self.with_columns(
            {name: None for name in self.remembered_columns if getattr(self, name) not in present}
        )

    @property
    def has_auto_classes(self) -> bool:
        """Whether the classes are those of the train rows, which are not known yet."""
        return self.class_names == AUTO_CLASSES

    @property
    def is_pair(self) -> bool:
        """Whether a row holds two sentences."""
        return self.head != "sentiment"

    @property
    def sentence_columns(self) -> tuple[str, ...]:
        """The columns of [`SENTENCE_COLUMNS`] that a row has."""
        return SENTENCE_COLUMNS if self.is_pair else SENTENCE_COLUMNS[:1]

    @property
    def is_regression(self) -> bool:
        """Whether the label is a number in `label_range` rather than a class."""
        return self.head == "similarity"


PAPER_TASKS: dict[str, TaskSpec] = {
    "sst": TaskSpec(
        name="sst",
        head="sentiment",
        class_names=("very negative", "negative", "neutral", "positive", "very positive"),
        metric="accuracy",
        course_stem="ids-sst",
        course_header="Predicted_Sentiment",
        hub_dataset="SetFit/sst5",
    ),
    "para": TaskSpec(
        name="para",
        head="paraphrase",
        class_names=("not paraphrase", "paraphrase"),
        metric="accuracy",
        course_stem="quora",
        course_header="Predicted_Is_Paraphrase",
        hub_dataset="nyu-mll/glue",
        hub_config="qqp",
    ),
    "sts": TaskSpec(
        name="sts",
        head="similarity",
        label_range=(0.0, 5.0),
        metric="pearson",
        course_stem="sts",
        course_header="Predicted_Similiary",  # spelled as the grader of the course expects
        hub_dataset="nyu-mll/glue",
        hub_config="stsb",
    ),
}
"""The paper's tasks (Section 5.1): SST-5, Quora question pairs, SemEval STS."""

RUN_TASKS = (*PAPER_TASKS, "multitask")
"""Names of runs that are no task of one's own: `extrabert train` takes such a word for the task, not for a file."""

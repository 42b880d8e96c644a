"""Which rows, and where in them a task's sentences and labels stand; each field's `help` is its one description."""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

from extrabert_hf.data.auditing import drop_defects
from extrabert_hf.data.loading import LoadedData, load_task_data
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec


@dataclass
class ColumnArguments:
    """Where the rows hold what."""

    _argument_group_name: ClassVar[str] = "columns"

    sentence1_column: str | None = field(
        default=None, metadata={"help": "Column of the (first) sentence; by default the first well-known name found."}
    )
    sentence2_column: str | None = field(default=None, metadata={"help": "Column of a pair's second sentence."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the label."})
    id_column: str | None = field(default=None, metadata={"help": "Column of the row's id, else its line."})

    def apply_to(self, task: TaskSpec) -> TaskSpec:
        """Gives `task` with the columns that are set here."""
        columns = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(ColumnArguments)}
        return dataclasses.replace(task, **{name: column for name, column in columns.items() if column is not None})


@dataclass
class TaskArguments(ColumnArguments):
    """Where your task differs from the recipe's."""

    _argument_group_name: ClassVar[str] = "task"

    task_name: str | None = field(default=None, metadata={"help": "Short id of your task, used in file names."})
    head: str | None = field(
        default=None,
        metadata={"help": "For a multitask run's own task: 'sentiment', 'paraphrase' or 'similarity'."},
    )
    num_labels: int | None = field(default=None, metadata={"help": "Number of classes, their labels 0, 1, ..."})
    class_names: list[str] | None = field(
        default=None, metadata={"help": "Names of the classes in the order of their ids; the data may use either."}
    )
    label_min: float | None = field(default=None, metadata={"help": "Smallest score of a similarity task."})
    label_max: float | None = field(default=None, metadata={"help": "Largest score of a similarity task."})

    def apply_to(self, task: TaskSpec) -> TaskSpec:
        """Gives `task` with the fields that are set here."""
        task = super().apply_to(task)
        given = self.class_names or [f"LABEL_{index}" for index in range(self.num_labels or 0)]
        if task.is_regression and (self.class_names is not None or self.num_labels is not None):
            raise InputError("`class_names` and `num_labels` are for tasks with classes, this one has a score.")
        if not task.is_regression and (self.label_min is not None or self.label_max is not None):
            raise InputError("`label_min` and `label_max` are for tasks with a score, this one has classes.")
        if self.num_labels is not None and len(given) != self.num_labels:
            raise InputError(f"`num_labels` must be the number of `class_names`, {len(given)}, got {self.num_labels}.")
        if self.num_labels is not None and self.num_labels < 2:
            raise InputError(f"`num_labels` must be 2 or more, got {self.num_labels}.")
        low, high = task.label_range
        return dataclasses.replace(
            task,
            name=self.task_name or task.name,
            class_names=tuple(given) or task.class_names,
            label_range=(
                low if self.label_min is None else self.label_min,
                high if self.label_max is None else self.label_max,
            ),
        )


@dataclass
class DataArguments:
    """Which rows."""

    _argument_group_name: ClassVar[str] = "data"

    data: str | None = field(
        default=None,
        metadata={
            "help": "'sample' (bundled), a folder (CS224N files, or train/dev/test as csv, tsv, json, jsonl, "
            "parquet), a file, or a Hub id; by default the task's data set on the Hub."
        },
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Config name of a Hub data set."})
    dev_data: str | None = field(default=None, metadata={"help": "Dev file beside a train file given as --data."})
    test_data: str | None = field(default=None, metadata={"help": "Test file, labelled or not."})
    dev_fraction: float = field(
        default=0.1, metadata={"help": "Share of train cut off as dev where there is none, 0 to 1."}
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Most tokens of one sentence, the rest is cut off; by default 128, or the tokenizer's fewer."
        },
    )
    predict_test: bool = field(default=True, metadata={"help": "Whether to predict the test split at the end."})
    strict_data: bool = field(default=False, metadata={"help": "Whether a row that can't be used is an error."})
    drop_leaked: bool = field(
        default=False, metadata={"help": "Leave out train rows whose text stands in dev or test too."}
    )
    drop_duplicates: bool = field(default=False, metadata={"help": "Keep the first of train rows with the same text."})

    def __post_init__(self) -> None:
        if not 0 < self.dev_fraction < 1:
            raise InputError(f"`dev_fraction` must be between 0 and 1, got {self.dev_fraction}.")
        if self.max_length is not None and self.max_length < 3:
            raise InputError(f"`max_length` must be 3 or more, got {self.max_length}.")

    def load(self, task: TaskSpec, seed: int) -> LoadedData:
        """Loads a task's rows as these arguments say, cleaned of the defects that they name."""
        loaded = load_task_data(
            task,
            self.data,
            dev_data=self.dev_data,
            test_data=self.test_data,
            dev_fraction=self.dev_fraction,
            dataset_config=self.dataset_config,
            seed=seed,
            strict=self.strict_data,
        )
        if self.drop_leaked or self.drop_duplicates:
            return drop_defects(loaded, leaked=self.drop_leaked, duplicates=self.drop_duplicates)
        return loaded

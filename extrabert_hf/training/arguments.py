"""The arguments of a run: model, adapters, columns, task, data. The `help` of a field is its only description."""

import dataclasses
import logging
from dataclasses import dataclass, field, fields, make_dataclass
from os import PathLike
from typing import Any, ClassVar, get_args

from extrabert_hf.data.auditing import drop_defects
from extrabert_hf.data.extra_rows import Phrases, add_extra_rows
from extrabert_hf.data.loading import LoadedData, load_task_data
from extrabert_hf.data.sources import Sources, train_file
from extrabert_hf.errors import InputError, shorten
from extrabert_hf.models.configuration_extrabert import TASK_FIELDS, ExtraBertConfig
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.argument_checks import changed_fields, check_number
from extrabert_hf.training.command_parser import described_arguments

logger = logging.getLogger(__name__)


MODEL_FIELDS = tuple(n for n in TASK_FIELDS if n not in ("score_range", "class_names", "columns", "conformal"))
"""Fields of [`ExtraBertConfig`] that a run sets by flags. The others come from the task, or from a calibration."""


@dataclass
class EncoderArguments:
    """The encoder of a model: the part of [`ModelArguments`] that is not in [`ExtraBertConfig`]."""

    _argument_group_name: ClassVar[str] = "model"

    model_name_or_path: str = field(
        default="google-bert/bert-base-uncased",
        metadata={
            "help": "Encoder: a Hub id, a folder, or 'minilm' or 'mpnet' (22 M and 109 M parameters, from PyPI, "
            "without network). A model that this package saved is trained further: with its head if the task has "
            "the same kind of head, classes being matched by name, otherwise with its encoder and a new head."
        },
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={
            "help": "Attention implementation: 'sdpa' (the default if the encoder has it), 'eager', "
            "'flash_attention_2', ..."
        },
    )

    def config_fields(self) -> dict[str, Any]:
        """Returns the fields that go to [`ExtraBertConfig`]."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name in MODEL_FIELDS}


def _argument_from_config(name: str) -> tuple[str, Any, Any]:
    """Makes a field of a dataclass, with its `help`, from the field of [`ExtraBertConfig`] of this name."""
    (declared,) = (entry for entry in fields(ExtraBertConfig) if entry.name == name)
    text = described_arguments(ExtraBertConfig)[name].replace("%", "%%")  # argparse expands `%` in a help text
    if isinstance(declared.default, tuple):  # declared as `list[...] | tuple[...]`: flags make lists
        default = list(declared.default)
        return name, get_args(declared.type)[0], field(default_factory=default.copy, metadata={"help": text})
    return name, declared.type, field(default=declared.default, metadata={"help": text})


ModelArguments = make_dataclass(
    "ModelArguments",
    [_argument_from_config(name) for name in MODEL_FIELDS],
    bases=(EncoderArguments,),
    namespace={"__module__": __name__, "__doc__": "The encoder, and the fields of [`ExtraBertConfig`] for its head."},
)


@dataclass
class LoraArguments:
    """Low-rank adapters in a frozen encoder; heads and poolings are trained in full."""

    _argument_group_name: ClassVar[str] = "LoRA (peft)"

    lora: bool = field(
        default=False,
        metadata={
            "help": "Train low-rank adapters in a frozen encoder. Adapters need a larger --learning_rate, such as "
            "3e-4."
        },
    )
    lora_r: int = field(default=8, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(
        default=16, metadata={"help": "Scale of the adapters: the output of an adapter is multiplied by alpha / r."}
    )
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout on the input of an adapter."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Last parts of the names of the linear layers that get an adapter, such as: query value. The "
            "default is every linear layer of the encoder."
        },
    )

    def __post_init__(self) -> None:
        changed = changed_fields(self)
        if changed and not self.lora:
            logger.warning("without `lora`, %s have no effect", ", ".join(f"`{name}`" for name in changed))
        if self.lora:
            check_number("lora_r", self.lora_r, "[1, inf)", is_whole=True)
            check_number("lora_alpha", self.lora_alpha, "(0, inf)")
            check_number("lora_dropout", self.lora_dropout, "[0, 1)")


@dataclass
class ColumnArguments:
    """Names of the columns of the data."""

    _argument_group_name: ClassVar[str] = "columns"

    sentence1_column: str | None = field(
        default=None,
        metadata={"help": "Column of the sentence, or of a pair's first sentence. By default common names are tried."},
    )
    sentence2_column: str | None = field(
        default=None, metadata={"help": "Column of a pair's second sentence. By default common names are tried."}
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column of the label. By default common names are tried."}
    )
    id_column: str | None = field(
        default=None,
        metadata={"help": "Column of the row's id. If the file has no such column, the id is the line number."},
    )

    def apply_to(self, task: TaskSpec) -> TaskSpec:
        """Returns `task` with the columns that are set here."""
        columns = {entry.name: getattr(self, entry.name) for entry in fields(ColumnArguments)}
        return task.with_columns({name: column for name, column in columns.items() if column is not None})


@dataclass
class TaskArguments(ColumnArguments):
    """The fields of a custom task that differ from the paper's task."""

    _argument_group_name: ClassVar[str] = "task"

    task_name: str | None = field(default=None, metadata={"help": "Short id of a custom task, used in file names."})
    head: str | None = field(
        default=None,
        metadata={
            "help": "Head of a custom task: 'sentiment' (sentences with classes), 'paraphrase' (pairs with classes) "
            "or 'similarity' (pairs with scores)."
        },
    )
    num_labels: int | None = field(
        default=None, metadata={"help": "Number of classes of a custom task; labels are 0, 1, ..."}
    )
    class_names: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names of the classes, in the order of the class ids. Labels in the data may be names or ids. "
            "'auto': the labels of the train rows are the classes."
        },
    )
    label_min: float | None = field(default=None, metadata={"help": "Smallest score of a similarity task."})
    label_max: float | None = field(default=None, metadata={"help": "Largest score of a similarity task."})

    def apply_to(self, task: TaskSpec) -> TaskSpec:
        """Returns `task` with the fields that are set here."""
        task = super().apply_to(task)
        names = self.class_names or [f"LABEL_{index}" for index in range(self.num_labels or 0)]
        if task.is_regression and (self.class_names is not None or self.num_labels is not None):
            raise InputError("`class_names` and `num_labels` are for tasks with classes, but this task has a score.")
        if not task.is_regression and (self.label_min is not None or self.label_max is not None):
            raise InputError("`label_min` and `label_max` are for tasks with a score, but this task has classes.")
        if self.num_labels is not None and len(names) != self.num_labels:
            raise InputError(f"`num_labels` must be the number of `class_names`, {len(names)}, got {self.num_labels}.")
        if self.num_labels is not None and self.num_labels < 2:
            raise InputError(f"`num_labels` must be 2 or more, got {self.num_labels}.")
        low, high = task.label_range
        return dataclasses.replace(
            task,
            name=self.task_name or task.name,
            class_names=tuple(names) or task.class_names,
            label_range=(
                low if self.label_min is None else self.label_min,
                high if self.label_max is None else self.label_max,
            ),
        )


@dataclass
class DataArguments:
    """The rows of a task."""

    _argument_group_name: ClassVar[str] = "data"

    data: str | None = field(
        default=None,
        metadata={
            "help": "'sample' (bundled), a folder (CS224N files, or train/dev/test as csv, tsv, json, jsonl, "
            "parquet, or txt with trees), a file, or a Hub id. The default is the task's data set on the Hub."
        },
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Name of the configuration of a Hub data set."})
    dev_data: str | None = field(
        default=None, metadata={"help": "File of dev rows. It replaces the dev split of --data."}
    )
    test_data: str | None = field(
        default=None,
        metadata={"help": "File of test rows, with or without labels. It replaces the test split of --data."},
    )
    extra_train: list[str] | None = field(
        default=None,
        metadata={
            "help": "Files of further train rows, in the formats of --data. Rows that are also in dev or test, or "
            "already in train, are left out and counted."
        },
    )
    phrases: int | None = field(
        default=None,
        metadata={
            "help": "Make a train row of each phrase of this many words or more in train trees: .txt files, one tree "
            "(label child child) a line. The default makes a row of each sentence only."
        },
    )
    neutral_phrases: float = field(
        default=1.0,
        metadata={"help": "Share of the phrases with the middle class, 0 to 1, that is kept, drawn with --seed."},
    )
    dev_fraction: float = field(
        default=0.1,
        metadata={"help": "Share of the train rows, between 0 and 1, that replaces a missing dev split."},
    )
    dev_seed: int = field(
        default=42,
        metadata={
            "help": "Seed of the draw of the dev rows that --dev_fraction takes from the train rows. --seed does not "
            "change the dev rows, so runs with several seeds can be compared and joined."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Maximum number of tokens of one sentence; longer sentences are truncated. The default is 128, or "
            "the tokenizer's maximum if that is smaller."
        },
    )
    predict_test: bool = field(default=True, metadata={"help": "Predict the test split after training."})
    strict_data: bool = field(
        default=False,
        metadata={"help": "Stop with an error at a row that cannot be used, instead of leaving the row out."},
    )
    max_rejected_share: float | None = field(
        default=None,
        metadata={
            "help": "Stop with an error if a larger share of the rows of a split, 0 to 1, cannot be used. The default "
            "is 0.1, and no label may lose all of its rows."
        },
    )
    drop_leaked: bool = field(
        default=False, metadata={"help": "Leave out train rows whose text is also in the dev or test split."}
    )
    drop_duplicates: bool = field(
        default=False, metadata={"help": "Keep only the first of several train rows with the same text."}
    )

    def __post_init__(self) -> None:
        if not 0 < self.dev_fraction < 1:
            raise InputError(f"`dev_fraction` must be between 0 and 1, got {self.dev_fraction}.")
        if self.max_rejected_share is not None and not 0 <= self.max_rejected_share <= 1:
            raise InputError(f"`max_rejected_share` must be between 0 and 1, got {self.max_rejected_share}.")
        if not isinstance(self.extra_train, list | tuple | None):
            raise InputError(f"`extra_train` must be a list of files, got {shorten(repr(self.extra_train))}.")
        if wrong := [file for file in self.extra_train or () if not isinstance(file, str | PathLike)]:
            raise InputError(f"`extra_train` must be a list of files, got {shorten(repr(wrong[0]))} in it.")
        check_number("dev_seed", self.dev_seed, "[0, inf)", is_whole=True)
        if self.phrases is not None:
            check_number("phrases", self.phrases, "[1, inf)", is_whole=True)
        check_number("neutral_phrases", self.neutral_phrases, "[0, 1]")
        if self.neutral_phrases < 1 and self.phrases is None:
            raise InputError(f"`neutral_phrases` needs `phrases`, got {self.neutral_phrases:g} without it.")
        if self.max_length is not None and self.max_length < 3:
            raise InputError(f"`max_length` must be 3 or more, got {self.max_length}.")

    def load(self, task: TaskSpec, seed: int, rows: Sources | None = None) -> LoadedData:
        """
        Loads the rows of a task, or takes those of `rows`, without the defects that these arguments exclude.

        `seed` draws the neutral phrases.
        """
        loaded = load_task_data(
            task,
            self.data if rows is None else rows,
            dev_data=self.dev_data,
            test_data=self.test_data,
            dev_fraction=self.dev_fraction,
            dataset_config=self.dataset_config,
            seed=self.dev_seed,
            strict=self.strict_data,
            max_rejected_share=self.max_rejected_share,
        )
        if self.drop_leaked or self.drop_duplicates:
            loaded = drop_defects(loaded, leaked=self.drop_leaked, duplicates=self.drop_duplicates)
        if not self.extra_train and self.phrases is None:
            return loaded
        return add_extra_rows(
            loaded,
            self.extra_train or (),
            own_trees=None if rows is not None or self.phrases is None else train_file(task, self.data),
            phrases=None if self.phrases is None else Phrases(self.phrases, self.neutral_phrases),
            seed=seed,
            strict=self.strict_data,
            max_rejected_share=self.max_rejected_share,
        )

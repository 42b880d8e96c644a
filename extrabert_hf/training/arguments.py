"""The arguments of a run: rows, task, model, adapters; each field's `help` is its only description."""

import dataclasses
import logging
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from extrabert_hf.data.auditing import drop_defects
from extrabert_hf.data.loading import LoadedData, load_task_data
from extrabert_hf.errors import InputError
from extrabert_hf.models.configuration_extrabert import ExtraBertConfig, PairEncoding, PoolingName
from extrabert_hf.tasks import TaskSpec


@dataclass
class ModelArguments:
    """Which model; the fields after the first two are those of `ExtraBertConfig`."""

    _argument_group_name: ClassVar[str] = "model"

    model_name_or_path: str = field(
        default="google-bert/bert-base-uncased",
        metadata={
            "help": "Encoder: Hub id, folder, or 'minilm' (from PyPI, no network). A folder with a model of "
            "this task trained before goes on from it."
        },
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "'sdpa' (the default where it is there), 'eager', 'flash_attention_2', ..."}
    )
    pair_encoding: PairEncoding = field(
        default=ExtraBertConfig.pair_encoding,
        metadata={
            "help": "A vector for each sentence of a pair, or jointly one for both, which read each other: often more "
            "accurate, but nothing is encoded once for many pairs."
        },
    )
    pooling: PoolingName = field(
        default=ExtraBertConfig.pooling, metadata={"help": "How token states become one sentence vector."}
    )
    multiplicative_weight: bool = field(
        default=ExtraBertConfig.multiplicative_weight,
        metadata={"help": "Multiplicative attention with a learned W (s^T W h); without, s^T h as the paper prints."},
    )
    feed_forward_depth: int = field(
        default=ExtraBertConfig.feed_forward_depth,
        metadata={"help": "Layers between pooling and classifier (sentiment, paraphrase)."},
    )
    feed_forward_residual: bool = field(
        default=ExtraBertConfig.feed_forward_residual, metadata={"help": "Each such layer adds to its input."}
    )
    pair_features: list[str] = field(
        default_factory=lambda: list(ExtraBertConfig.pair_features),
        metadata={"help": "What a linear layer over a pair (u, v) sees."},
    )
    similarity: Literal["cosine", "linear"] = field(
        default=ExtraBertConfig.similarity, metadata={"help": "Score of a pair: scaled cosine, or linear."}
    )
    similarity_bounds: Literal["none", "clamp", "scale"] = field(
        default=ExtraBertConfig.similarity_bounds,
        metadata={
            "help": "What keeps a score in its range: a cut-off outside training, or the sigmoid of a linear score "
            "and (1 + cos) / 2, which learns badly."
        },
    )
    head_dropout: float = field(default=ExtraBertConfig.head_dropout, metadata={"help": "Dropout in the head."})

    def config_fields(self) -> dict:
        """The fields of `ExtraBertConfig`."""
        fields = dataclasses.asdict(self)
        del fields["model_name_or_path"], fields["attn_implementation"]
        return fields


logger = logging.getLogger(__name__)


@dataclass
class LoraArguments:
    """Train small adapters in place of the whole encoder; heads and poolings are trained in full."""

    _argument_group_name: ClassVar[str] = "LoRA (peft)"

    lora: bool = field(
        default=False,
        metadata={"help": "Low-rank adapters in a frozen encoder; they want a larger --learning_rate, such as 3e-4."},
    )
    lora_r: int = field(default=8, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=16, metadata={"help": "Scale: an adapter counts alpha / r times."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout before an adapter."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Names of the linear layers that get one, such as 'query value'; by default all."},
    )

    def __post_init__(self) -> None:
        given = [its.name for its in fields(self) if getattr(self, its.name) != its.default]
        if given and not self.lora:
            logger.warning("without `lora` nothing is done with %s", ", ".join(f"`{name}`" for name in given))


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
        return task.with_columns({name: column for name, column in columns.items() if column is not None})


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

"""One YAML and the command line -> the arguments of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import AGGREGATES, ERRORS, metric_names
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec
from extrabert_hf.training.arguments import DataArguments, LoraArguments, ModelArguments, TaskArguments
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.recipe_parser import (
    BY_TASK,
    RecipeParser,
    blocks_of_tasks,
    flags_from_yaml,
    refused_in_one_line,
)
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

T = TypeVar("T")

BLOCKS = {
    "task": TaskArguments,
    "data": DataArguments,
    "model": ModelArguments,
    "lora": LoraArguments,
    "trainer": ExtraBertTrainingArguments,
}
MULTITASK_BLOCKS = BLOCKS | {"multitask": MultiTaskArguments}


@dataclass
class TaskRun:
    """What one task of a run is told."""

    task: TaskSpec
    data: DataArguments
    model: ModelArguments


@dataclass
class Run:
    """All that one run is told: one task, or several over one encoder, for which `multitask` is set."""

    tasks: dict[str, TaskRun]
    lora: LoraArguments
    training: ExtraBertTrainingArguments
    multitask: MultiTaskArguments | None = None

    @property
    def specs(self) -> dict[str, TaskSpec]:
        """The tasks by name."""
        return {name: task_run.task for name, task_run in self.tasks.items()}

    @property
    def encoder(self) -> ModelArguments:
        """What all tasks share of the model: the encoder's name and its attention."""
        return next(iter(self.tasks.values())).model

    @property
    def max_length(self) -> int | None:
        """Most tokens of a sentence; the tasks share the tokenizer."""
        return next(iter(self.tasks.values())).data.max_length


def parse_run(
    task_name: str, argv: Sequence[str], *, default_config: Path | None = None, description: str | None = None
) -> Run:
    """
    Reads a run from its YAML and the command line, which wins.

    Args:
        task_name (`str`):
            Key of [`PAPER_TASKS`]: the task that a `task` block or its flags start from.
        argv (`Sequence[str]`):
            Words of the command line; `--config FILE.yaml` names the YAML.
        default_config (`Path`, *optional*):
            YAML taken when `--config` is not given.
        description (`str`, *optional*):
            What `--help` opens with.

    Raises:
        [`InputError`]: for an unknown key or flag, or a value of the wrong form.
    """
    reader = _RunReader(BLOCKS, argv, default_config, description, PAPER_TASKS[task_name].metric)
    values = reader.values(task_name)
    reader.check_tasks(list(PAPER_TASKS))
    task_run = reader.task_run(PAPER_TASKS[task_name], values)
    task = task_run.task
    if values["head"] not in (None, task.head):
        raise InputError(f"`head` is {task.head!r} in this recipe, got {values['head']!r}: a multitask run takes any.")
    if values["pair_encoding"] == "cross_encoder" and not task.is_pair:
        raise InputError(f"`pair_encoding` 'cross_encoder' is for pairs, {task.name!r} has single sentences.")
    metric = values["metric_for_best_model"]
    names = (*metric_names(task), "loss")
    if metric not in names:
        raise InputError(f"`metric_for_best_model` must be one of {', '.join(map(repr, names))}, got {metric!r}.")
    training = reader.training(values, output_dir=f"runs/{task.name}", is_error=metric in (*ERRORS, "loss"))
    return Run({task.name: task_run}, reader.build(LoraArguments, values), training)


def parse_multitask_run(
    argv: Sequence[str], *, default_config: Path | None = None, description: str | None = None
) -> Run:
    """
    Reads a run of several tasks over one encoder, as [`parse_run`] does one of a single task.

    What stands in the YAML under `by_task` and a task's name, in blocks `task`, `data` and `model`, holds for that
    task only. A task that is not one of the paper's says its `head` there.

    Args:
        argv (`Sequence[str]`):
            As for [`parse_run`].
        default_config (`Path`, *optional*):
            As for [`parse_run`].
        description (`str`, *optional*):
            As for [`parse_run`].

    Raises:
        [`InputError`]: as [`parse_run`], and if the tasks name different encoders.
    """
    reader = _RunReader(MULTITASK_BLOCKS, argv, default_config, description, "mean")
    values = reader.values()
    multitask = reader.build(MultiTaskArguments, values)
    reader.check_tasks(multitask.tasks)
    tasks = {}
    for name in multitask.tasks:
        own = reader.values(name)
        tasks[name] = reader.task_run(_base_task(name, own["head"]), own)
        if own["task_name"] not in (None, name):
            raise InputError(f"`task_name` of a multitask run is its name under `tasks`, {name!r}.")
    if len({(t.model.model_name_or_path, t.model.attn_implementation) for t in tasks.values()}) > 1:
        raise InputError("`model_name_or_path` and `attn_implementation` must be the same for all tasks.")
    if len({task_run.data.max_length for task_run in tasks.values()}) > 1:
        raise InputError("`max_length` must be the same for all tasks.")
    specs = {name: task_run.task for name, task_run in tasks.items()}
    names = (*AGGREGATES, "loss", *(f"{name}_{metric}" for name in specs for metric in metric_names(specs[name])))
    metric = values["metric_for_best_model"]
    if metric not in names:
        raise InputError(f"`metric_for_best_model` must be one of {', '.join(map(repr, names))}, got {metric!r}.")
    training = reader.training(
        values, output_dir="runs/multitask", is_error=metric == "loss" or metric.endswith(ERRORS)
    )
    return Run(tasks, reader.build(LoraArguments, values), training, multitask)


def yaml_of_flags(argv: Sequence[str], *, multitask: bool = False) -> dict[str, Any]:
    """
    Says in blocks, as a YAML has them, what a command line and its `--config` say together.

    Args:
        argv (`Sequence[str]`):
            As for [`parse_run`].
        multitask (`bool`, defaults to `False`):
            Whether the run is one of [`parse_multitask_run`].

    Returns:
        `dict`: by block, the arguments that are not as by default.
    """
    reader = _RunReader(MULTITASK_BLOCKS if multitask else BLOCKS, argv, None, None, None)
    values = reader.values()
    defaults = vars(reader.parser.parse_args([]))
    blocks = {
        block: {entry.name: values[entry.name] for entry in fields(its) if values[entry.name] != defaults[entry.name]}
        for block, its in reader.blocks.items()
    }
    of_tasks = {} if reader.config is None else blocks_of_tasks(reader.config)
    given = reader.given()  # which wins over what the YAML has for a task
    by_task = {
        task: {block: {key: its[key] for key in its or {} if key not in given} for block, its in own.items()}
        for task, own in of_tasks.items()
    }
    return {name: block for name, block in (blocks | {BY_TASK: by_task}).items() if block}


def _base_task(name: str, head: str | None) -> TaskSpec:
    if name in PAPER_TASKS and head in (None, PAPER_TASKS[name].head):
        return PAPER_TASKS[name]
    for task in PAPER_TASKS.values():
        if task.head == head:
            return replace(task, name=name, course_stem=None, hub_dataset=None, hub_config=None)
    raise InputError(
        f"`tasks` must be of {', '.join(map(repr, PAPER_TASKS))}, or have a `head` in the YAML under "
        f"{BY_TASK}: {name}: task: ('sentiment', 'paraphrase' or 'similarity'), got {name!r} with {head!r}."
    )


class _RunReader:
    """The flags of a YAML and of the command line, and what is built from them."""

    def __init__(
        self,
        blocks: dict[str, type],
        argv: Sequence[str],
        default_config: Path | None,
        description: str | None,
        metric: str | None,
    ) -> None:
        self.blocks, self.argv = blocks, argv
        self.own_blocks = [name for name in blocks if blocks is BLOCKS or name in ("task", "data", "model")]
        self.parser = RecipeParser(
            list(blocks.values()),
            description=description,
            usage="%(prog)s [--config FILE.yaml] [--data SOURCE] [--model_name_or_path MODEL] "
            "[--output_dir DIR] [...]",
        )
        self.parser.add_argument("--config", default=default_config, help="YAML of the run; flags after it win.")
        self.parser.set_defaults(metric_for_best_model=metric)
        config = self.parser.parse_known_args([word for word in argv if word not in ("-h", "--help")])[0].config
        self.config = None if config is None else Path(config)

    def values(self, task_name: str | None = None) -> dict[str, Any]:
        """Gives every argument's value, for one task if it is named."""
        words, nulls = (
            ([], []) if self.config is None else flags_from_yaml(self.config, self.blocks, self.own_blocks, task_name)
        )
        values = vars(self.parser.parse_args([*words, *self.argv]))
        return values | {key: None for key in nulls if key not in self.given()}

    def given(self) -> set[str]:
        """Names the arguments that the command line gives."""
        return {word.split("=")[0].removeprefix("--").replace("-", "_") for word in self.argv}

    def check_tasks(self, known: list[str]) -> None:
        """Refuses a YAML with blocks for a task that the run does not have."""
        for name in [] if self.config is None else blocks_of_tasks(self.config):
            if name not in known:
                raise InputError(f"`{BY_TASK}` must name tasks of {known}, got {name!r} in {self.config}.")

    def build(self, block: type[T], values: dict[str, Any]) -> T:
        """Makes a block's arguments of `values`."""
        return block(**{field.name: values[field.name] for field in fields(block) if field.init})

    def task_run(self, base: TaskSpec, values: dict[str, Any]) -> TaskRun:
        """Makes a task of the paper's one it starts from and what `values` say otherwise."""
        task = self.build(TaskArguments, values).apply_to(base)
        return TaskRun(task, self.build(DataArguments, values), self.build(ModelArguments, values))

    def training(self, values: dict[str, Any], *, output_dir: str, is_error: bool) -> ExtraBertTrainingArguments:
        """Makes the Trainer's arguments."""
        values = values | {"output_dir": values["output_dir"] or output_dir}
        if values["greater_is_better"] is None:
            values["greater_is_better"] = not is_error
        with refused_in_one_line():
            return self.build(ExtraBertTrainingArguments, values)

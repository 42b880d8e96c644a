"""Parses the arguments of a run from a YAML and the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from extrabert_hf.errors import InputError, shorten
from extrabert_hf.evaluation.metrics import ERRORS
from extrabert_hf.tasks import AUTO_CLASSES, PAPER_TASKS, TaskSpec
from extrabert_hf.training.argument_checks import check_fixed
from extrabert_hf.training.arguments import DataArguments, LoraArguments, ModelArguments, TaskArguments
from extrabert_hf.training.command_parser import (
    BY_TASK,
    RULES,
    CommandParser,
    add_dry_run_flag,
    add_trust_flag,
    blocks_of_tasks,
    flags_from_yaml,
    refused_in_one_line,
)
from extrabert_hf.training.defaults import SizeRules, own_data_config
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.packaged_configs import find_config
from extrabert_hf.training.run import Run, TaskRun, check_metric
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

T = TypeVar("T")
FindTask = Callable[[Mapping[str, Any]], TaskSpec]

BLOCKS = {
    "task": TaskArguments,
    "data": DataArguments,
    "model": ModelArguments,
    "lora": LoraArguments,
    "trainer": ExtraBertTrainingArguments,
}
MULTITASK_BLOCKS = BLOCKS | {"multitask": MultiTaskArguments}


def parse_run(
    task_name: str,
    argv: Sequence[str],
    *,
    default_config: Path | None = None,
    description: str | None = None,
    find_task: FindTask | None = None,
) -> Run:
    """
    Parses a separate run of one task from its YAML and the command line, which overrides the YAML.

    Args:
        task_name (`str`):
            Key of [`PAPER_TASKS`]: the task that the block `task` and its flags change.
        argv (`Sequence[str]`):
            Words of the command line. `--config FILE.yaml` names the YAML.
        default_config (`Path`, *optional*):
            The YAML without `--config`; for rows of the user it is [`own_data_config`] instead.
        description (`str`, *optional*):
            First text of `--help`.
        find_task (`Callable`, *optional*):
            Returns the task that the block `task` and its flags change, instead of the paper's, from the values of all
            arguments by name. Then `task_name` is not used.

    Raises:
        [`InputError`]: for an unknown key or flag, or an invalid value.
    """
    if find_task is None and (not isinstance(task_name, str) or task_name not in PAPER_TASKS):
        names = ", ".join(map(repr, PAPER_TASKS))
        raise InputError(
            f"`task_name` must be one of {names}, got {shorten(repr(task_name))}: a task of your own starts from the "
            "one with its head (a sentence with classes, a pair with classes, a pair with a score)."
        )
    check_words(argv)
    metric = PAPER_TASKS[task_name].metric if find_task is None else None
    return _parse(_RunReader(BLOCKS, argv, default_config, description, metric), task_name, find_task)


def parse_multitask_run(
    argv: Sequence[str], *, default_config: Path | None = None, description: str | None = None
) -> Run:
    """
    Parses a run of several tasks over one encoder from its YAML and the command line, which overrides the YAML.

    The blocks `task`, `data` and `model` under `by_task: TASK` in the YAML are for that task only. A custom task needs
    a `head` there.

    Args:
        argv (`Sequence[str]`):
            Words of the command line. `--config FILE.yaml` names the YAML.
        default_config (`Path`, *optional*):
            The YAML without `--config`; for rows of the user it is [`own_data_config`] instead.
        description (`str`, *optional*):
            First text of `--help`.

    Raises:
        [`InputError`]: as for [`parse_run`], and if the tasks have different encoders.
    """
    check_words(argv)
    return _parse(_RunReader(MULTITASK_BLOCKS, argv, default_config, description, "mean"), None)


def run_parser(description: str | None = None) -> CommandParser:
    """Makes the parser of the flags of all runs. A separate run of one task does not have the group `multitask`."""
    return _RunReader(MULTITASK_BLOCKS, [], None, description, None).parser


def check_words(argv: Any) -> None:
    """Raises [`InputError`] for anything but the words of a command line in a list."""
    if not isinstance(argv, list | tuple) or not all(isinstance(word, str) for word in argv):
        raise InputError(
            f"`argv` must be a list of words, such as ['--num_train_epochs', '3'], got {shorten(repr(argv))}."
        )


def _parse(reader: "_RunReader", separate_task: str | None, find_task: FindTask | None = None) -> Run:
    shared = reader.values(separate_task)  # of a separate run, also what the YAML has for the task alone
    multitask = reader.build(MultiTaskArguments, shared) if separate_task is None else None
    names = [separate_task] if multitask is None else multitask.tasks
    reader.check_tasks(list(PAPER_TASKS) if multitask is None else names)  # runs of the three tasks may share one YAML
    tasks = {}
    for name in names:
        values = reader.values(name)
        base = find_task(values) if find_task else _base_task(name, values["head"], is_separate=multitask is None)
        task_run = reader.task_run(base, values)
        _check_task(name, task_run, is_separate=multitask is None)
        tasks[task_run.task.name] = task_run
    if len({(run.model.model_name_or_path, run.model.attn_implementation) for run in tasks.values()}) > 1:
        raise InputError("`model_name_or_path` and `attn_implementation` must be the same for all tasks.")
    if len({run.data.max_length for run in tasks.values()}) > 1:
        raise InputError("`max_length` must be the same for all tasks.")
    if len(several := [name for name, run in tasks.items() if run.data.extra_train]) > 1 and shared["extra_train"]:
        raise InputError(
            f"`extra_train` must be set for each task alone, in the YAML under {BY_TASK}: {several[0]}: data:, got "
            f"{shared['extra_train']} for {' and '.join(map(repr, several))}."
        )
    metric = shared["metric_for_best_model"] or next(iter(tasks.values())).task.metric
    shared["metric_for_best_model"] = metric
    check_metric(metric, [run.task for run in tasks.values()], is_separate=multitask is None)
    folder = next(iter(tasks)) if multitask is None else "multitask"
    training = reader.training(
        shared, output_dir=f"runs/{folder}", is_error=metric == "loss" or metric.endswith(ERRORS)
    )
    scores = [run.task.name for run in tasks.values() if run.task.is_regression]
    if training.label_smoothing_factor and scores:
        raise InputError(f"`label_smoothing_factor` is for classes, but {', '.join(map(repr, scores))} has scores.")
    lora, rules = reader.build(LoraArguments, shared), SizeRules.read(reader.config, reader.given())
    trust, dry_run = shared["trust_remote_code"], shared["dry_run"]
    return Run(tasks, lora, training, multitask, trust, dry_run, rules=rules)


def _check_task(name: str, task_run: TaskRun, *, is_separate: bool) -> None:
    if not is_separate and task_run.task.name != name:  # names the blocks of `by_task`, and the heads of the model
        raise InputError(f"`task_name` of a multitask run is the name under `tasks`, {name!r}.")
    # a multitask run sets `pair_encoding` for all tasks at once: tasks of single sentences ignore it
    if is_separate and task_run.model.pair_encoding == "cross_encoder" and not task_run.task.is_pair:
        raise InputError(
            f"`pair_encoding` 'cross_encoder' is for pairs, but {task_run.task.name!r} has single sentences."
        )


def yaml_of_flags(argv: Sequence[str], *, multitask: bool = False) -> dict[str, Any]:
    """
    Turns a command line and its `--config` into the blocks of a YAML for the same run.

    Args:
        argv (`Sequence[str]`):
            As for [`parse_run`].
        multitask (`bool`, defaults to `False`):
            Whether the command line is one of [`parse_multitask_run`].

    Returns:
        `dict`: by block, the arguments that differ from the defaults.
    """
    blocks = MULTITASK_BLOCKS if multitask else BLOCKS
    reader = _RunReader(blocks, argv, own_data_config(argv), None, None)
    values = reader.values()
    defaults = vars(reader.parser.parse_args([]))
    given = reader.given()  # a flag overrides the blocks of every task, and the rules
    rules = SizeRules.read(reader.config, given)
    closed = set() if rules is None else rules.given  # else the rules would set an argument that has its default
    blocks = {
        block: {
            entry.name: values[entry.name]
            for entry in fields(dataclass_of_block)
            if entry.init and (values[entry.name] != defaults[entry.name] or entry.name in closed)
        }
        for block, dataclass_of_block in reader.blocks.items()
    }
    by_task = {
        task: {
            block: {key: value for key, value in (entries or {}).items() if key not in given}
            for block, entries in own_blocks.items()
        }
        for task, own_blocks in ({} if reader.config is None else blocks_of_tasks(reader.config)).items()
    }
    blocks |= {BY_TASK: by_task, RULES: {} if rules is None else rules.block()}
    return {name: block for name, block in blocks.items() if block}


def _base_task(name: str, head: str | None, *, is_separate: bool) -> TaskSpec:
    """Returns the task of the paper that the arguments of a task start from."""
    if name in PAPER_TASKS and head in (None, PAPER_TASKS[name].head):
        return PAPER_TASKS[name]
    if is_separate:  # the task determines the head
        own = PAPER_TASKS[name].head
        raise InputError(f"`head` of the task {name!r} is {own!r}, got {head!r}: a multitask run takes any.")
    for task in PAPER_TASKS.values():
        if task.head == head:
            return replace(task, name=name, course_stem=None, hub_dataset=None, hub_config=None)
    raise InputError(
        f"`tasks` must be of {', '.join(map(repr, PAPER_TASKS))}, or have a `head` in the YAML under "
        f"{BY_TASK}: {name}: task: ('sentiment', 'paraphrase' or 'similarity'), got {name!r} with {head!r}."
    )


class _RunReader:
    """Reads the flags of a YAML and of the command line, and builds dataclasses from them."""

    def __init__(
        self,
        blocks: dict[str, type],
        argv: Sequence[str],
        default_config: Path | None,
        description: str | None,
        metric: str | None,
    ) -> None:
        self.blocks, self.argv = blocks, argv
        if default_config is not None:
            default_config = own_data_config(argv) or default_config
        self.own_blocks = [name for name in blocks if blocks is BLOCKS or name in ("task", "data", "model")]
        self.parser = CommandParser(
            list(blocks.values()),
            prog="extrabert train",
            description=description,
            usage="%(prog)s DATA|TASK [--config NAME] [--data SOURCE] [--model_name_or_path MODEL] [flags]",
        )
        self.parser.add_argument(
            "--config",
            default=default_config,
            help="YAML of the run: a file, or a name that `extrabert configs` lists. Flags override it.",
        )
        add_trust_flag(self.parser)
        add_dry_run_flag(self.parser)
        self.parser.set_defaults(metric_for_best_model=metric)
        config = self.parser.parse_known_args([word for word in argv if word not in ("-h", "--help", "--help_all")])[
            0
        ].config
        self.config = None if config is None else find_config(config)

    def values(self, task_name: str | None = None) -> dict[str, Any]:
        """Returns the value of every argument, for one task if `task_name` is given."""
        words, nulls = (
            ([], []) if self.config is None else flags_from_yaml(self.config, self.blocks, self.own_blocks, task_name)
        )
        values = vars(self.parser.parse_args([*words, *self.argv]))
        if values["label_names"] == list(AUTO_CLASSES):  # of the trainer, where it names the inputs that are labels
            values |= {"class_names": list(AUTO_CLASSES), "label_names": None}
        return values | {key: None for key in nulls if key not in self.given()}

    def given(self) -> set[str]:
        """Returns the names of the arguments that are set on the command line."""
        flags = [word.split("=")[0] for word in self.argv if word.startswith("--")]
        return {flag.removeprefix("--").replace("-", "_") for flag in flags}

    def check_tasks(self, known: list[str]) -> None:
        """Raises [`InputError`] for a YAML with blocks for a task that is not in `known`."""
        for name in [] if self.config is None else blocks_of_tasks(self.config):
            if name not in known:
                raise InputError(f"`{BY_TASK}` must name tasks of {known}, got {name!r} in {self.config}.")

    def build(self, block: type[T], values: dict[str, Any]) -> T:
        """Builds the dataclass of a block from `values`."""
        return block(**{field.name: values[field.name] for field in fields(block) if field.init})

    def task_run(self, base: TaskSpec, values: dict[str, Any]) -> TaskRun:
        """Builds the arguments of a task: `base`, changed by `values`."""
        task = self.build(TaskArguments, values).apply_to(base)
        return TaskRun(task, self.build(DataArguments, values), self.build(ModelArguments, values))

    def training(self, values: dict[str, Any], *, output_dir: str, is_error: bool) -> ExtraBertTrainingArguments:
        """Builds the arguments of the trainer."""
        values = values | {"output_dir": values["output_dir"] or output_dir}
        if values["greater_is_better"] is None:
            values["greater_is_better"] = not is_error
        if values["greater_is_better"] == is_error:
            raise InputError(
                f"`greater_is_better` must be {not is_error} for `metric_for_best_model` "
                f"{values['metric_for_best_model']!r}, got {is_error}."
            )
        with refused_in_one_line():
            training = self.build(ExtraBertTrainingArguments, values)
        check_fixed(training)
        return training

"""The arguments of a run: of one task, or of several tasks over one encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from extrabert_hf.data.inspection import Inspection
from extrabert_hf.data.sources import Sources
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import AGGREGATES, metric_names
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.arguments import DataArguments, LoraArguments, ModelArguments
from extrabert_hf.training.defaults import SizeRules
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


@dataclass
class TaskRun:
    """The arguments of one task of a run."""

    task: TaskSpec
    data: DataArguments
    model: ModelArguments


@dataclass
class Run:
    """
    The arguments of a run of one task, or of several tasks over one encoder.

    Args:
        tasks (`dict[str, TaskRun]`):
            The arguments of each task by the task's name.
        lora ([`LoraArguments`]):
            The adapters.
        training ([`ExtraBertTrainingArguments`]):
            The arguments of the trainer.
        multitask ([`MultiTaskArguments`], *optional*):
            How the tasks are trained together; `None` for a separate run of one task. A multitask run may have a
            single task; its model and its metrics still have the form of several tasks.
        trust_remote_code (`bool`, defaults to `False`):
            Whether to run Python code in the files of the encoder and of the teachers.
        dry_run (`bool`, defaults to `False`):
            Whether to stop after the plan of the run: nothing is trained or written.
        inspection ([`Inspection`], *optional*):
            The columns and the head that were found in the user's file.
        rows ([`Sources`], *optional*):
            Rows in memory. The run writes them to the folder that its `data` names, before it reads them.
        rules ([`SizeRules`], *optional*):
            The values that depend on the rows and the encoder, until [`plan_run`] knows both.
    """

    tasks: dict[str, TaskRun]
    lora: LoraArguments
    training: ExtraBertTrainingArguments
    multitask: MultiTaskArguments | None = None
    trust_remote_code: bool = False
    dry_run: bool = False
    inspection: Inspection | None = None
    rows: Sources | None = None
    rules: SizeRules | None = None

    @property
    def specs(self) -> dict[str, TaskSpec]:
        """The [`TaskSpec`] of each task by name."""
        return {name: task_run.task for name, task_run in self.tasks.items()}

    def with_specs(self, specs: Mapping[str, TaskSpec]) -> "Run":
        """Returns the run with the tasks as they are after loading, with the classes that the rows have."""
        tasks = {name: replace(task_run, task=specs[name]) for name, task_run in self.tasks.items()}
        check_metric(self.training.metric_for_best_model, list(specs.values()), is_separate=self.multitask is None)
        return replace(self, tasks=tasks)

    @property
    def encoder(self) -> ModelArguments:
        """The model arguments of the first task; all tasks have the same encoder and attention implementation."""
        return next(iter(self.tasks.values())).model

    @property
    def max_length(self) -> int | None:
        """Maximum number of tokens of a sentence, the same for all tasks, because the tasks share the tokenizer."""
        return next(iter(self.tasks.values())).data.max_length

    @property
    def trained(self) -> list[str]:
        """The names of the tasks that are trained; the others are only scored."""
        return list(self.tasks) if self.multitask is None else self.multitask.trained


def check_metric(metric: str, tasks: Sequence[TaskSpec], *, is_separate: bool) -> None:
    """Raises [`InputError`] for a `metric_for_best_model` that no evaluation of the tasks has."""
    allowed = _names_of_metrics(tasks, is_separate=is_separate)
    if metric not in allowed:
        raise InputError(f"`metric_for_best_model` must be one of {', '.join(map(repr, allowed))}, got {metric!r}.")


def _names_of_metrics(tasks: Sequence[TaskSpec], *, is_separate: bool) -> list[str]:
    """Names the scores of an evaluation: for several tasks, the names contain the task, as in the `Trainer`."""
    if is_separate:
        (task,) = tasks
        return [*metric_names(task), "loss"]
    return [*AGGREGATES, "loss", *(f"{task.name}_{metric}" for task in tasks for metric in metric_names(task))]

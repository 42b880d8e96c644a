"""Callbacks of training: the start, the epoch of the sampler, the best model of each task, steps of a resumed run."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate.data_loader import BatchSamplerShard
from peft import PeftModel
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from extrabert_hf.data.multitask import StepSampler
from extrabert_hf.data.samplers import LengthBucketSampler, TokenBudgetBatchSampler
from extrabert_hf.errors import InputError
from extrabert_hf.files import atomic_folder
from extrabert_hf.pretrained.lora import merge_lora
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.records import BestScore
from extrabert_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)


class KeepBestPerTask(TrainerCallback):
    """
    Saves the model of a single task whenever an evaluation has the best score of that task so far.

    [`RunFolder.best_of`] names the folder. A file in the same folder holds the step and the score. Earlier scores are
    read from the trainer's state, so a resumed run also compares with the evaluations before the interruption.

    Args:
        tasks (`Mapping[str, TaskSpec]`):
            The tasks by name. A larger value of a task's `metric` is better.
    """

    def __init__(self, tasks: Mapping[str, TaskSpec]) -> None:
        self.tasks = tasks

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: nn.Module,
        metrics: dict[str, float],
        processing_class: Any,
        **kwargs: Any,
    ) -> None:
        """Saves the models of the tasks with a new best score."""
        if not state.is_world_process_zero:
            return
        for name, task in self.tasks.items():
            key = f"eval_{name}_{task.metric}"
            earlier = [entry[key] for entry in state.log_history if key in entry and entry["step"] < state.global_step]
            if key in metrics and all(metrics[key] > score for score in earlier):
                run = RunFolder(Path(args.output_dir))
                plain = merge_lora(model) if isinstance(model, PeftModel) else model
                with atomic_folder(run.best_of(name)) as folder:
                    plain.extract(name).save_pretrained(folder)
                    processing_class.save_pretrained(folder)
                run.write_best_score(name, BestScore(state.global_step, task.metric, metrics[key]))


class BeforeFirstStep(TrainerCallback):
    """
    Calls functions once, after the `Trainer` has accepted its rows and its schedule and before the first step.

    Args:
        begin (`Callable[[], None]`):
            The functions.
    """

    def __init__(self, *begin: Callable[[], None]) -> None:
        self.begin = begin

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Calls the functions, unless the `Trainer` begins again with a smaller batch."""
        for begin in self.begin:
            begin()
        self.begin = ()


class ContinueCheckpoint(TrainerCallback):
    """
    Checks the number of steps of a resumed run, and finds the best checkpoint of a run whose folder was moved.

    Args:
        checkpoint (`Path`):
            The checkpoint that the run resumes from.
        steps (`int`):
            Number of steps of the checkpoint's whole run.
        is_fixed (`bool`):
            Whether the resumed run must have as many steps. Otherwise it may have more.
    """

    def __init__(self, checkpoint: Path, steps: int, *, is_fixed: bool) -> None:
        self.checkpoint, self.steps, self.is_fixed = checkpoint, steps, is_fixed

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raises [`InputError`] for another number of steps; logs that there is nothing left to train."""
        if state.max_steps != self.steps and (self.is_fixed or state.max_steps < self.steps):
            least = "" if self.is_fixed else " or more"
            raise InputError(
                f"a run that resumes from {self.checkpoint} must have {self.steps} steps{least}, as before, got "
                f"{state.max_steps}: give the same data, batch size, accumulation, processes and epochs."
            )
        if state.global_step >= state.max_steps:
            logger.warning(
                "all %d steps of the run are done in %s: nothing is left to train, the results are written again",
                state.max_steps,
                self.checkpoint,
            )
        if state.best_model_checkpoint is None and state.best_global_step:
            name = f"checkpoint-{state.best_global_step}"
            found = [path for path in (Path(args.output_dir) / name, self.checkpoint.parent / name) if path.is_dir()]
            if found:
                state.best_model_checkpoint = str(found[0])
            elif args.load_best_model_at_end:
                logger.warning("the best model so far, %s, is missing: the best of the later ones is kept", name)
                state.best_metric = state.best_global_step = None


class ForgetEarlierSteps(TrainerCallback):
    """
    Clears what a trainer collected in an interrupted training, when the next one begins.

    It does not hold the trainer. A trainer that refers to itself is deleted by the garbage collector, which closes the
    queues of persistent workers before the message to stop is sent, and then waits 5 s for each worker.

    Args:
        collected (`dict` or `list`):
            Emptied in place when a training begins.
    """

    def __init__(self, *collected: dict[str, Any] | list[Any]) -> None:
        self.collected = collected

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Clears the collections."""
        for values in self.collected:
            values.clear()


class StopAtNaN(TrainerCallback):
    """Ends training with an error once a logged loss, or the norm of the gradients, is not a finite number."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        logs: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Raises [`InputError`]. With float16 the norm may be infinite: such a step is skipped."""
        for name in ("loss", "eval_loss") if args.fp16 else ("loss", "eval_loss", "grad_norm"):
            if name in logs and not math.isfinite(float(logs[name])):
                raise InputError(
                    f"training has failed: `{name}` is {float(logs[name])} at step {state.global_step}. Use a smaller "
                    "--learning_rate or --head_learning_rate, or another precision, and look at the data."
                )


class SetSamplerEpoch(TrainerCallback):
    """
    Sets the epoch of the training sampler when an epoch begins.

    transformers also sets the epoch. In the first epoch after a resume with several processes it does not reach the
    sampler, because accelerate's `skip_first_batches` wraps the batch sampler once more.
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        train_dataloader: DataLoader,
        **kwargs: Any,
    ) -> None:
        """Sets the epoch of a sampler of this package; transformers sets the epoch of other samplers."""
        sampler = innermost_sampler(train_dataloader)
        if isinstance(sampler, LengthBucketSampler | TokenBudgetBatchSampler | StepSampler):
            sampler.set_epoch(int(state.epoch + 1e-6))


def innermost_sampler(loader: DataLoader) -> Sampler | None:
    """Returns the sampler inside the batch samplers of PyTorch and accelerate; `None` for an iterable data set."""
    sampler = loader.batch_sampler
    while isinstance(sampler, BatchSampler):
        sampler = sampler.batch_sampler if isinstance(sampler, BatchSamplerShard) else sampler.sampler
    return sampler

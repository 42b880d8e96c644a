"""The HF Trainer, with a learning rate of their own for heads and poolings, and batches of like length."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from peft import PeftModel
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from extrabert_hf.pretrained.lora import merge_lora
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.tasks import TaskSpec


class KeepBestPerTask(TrainerCallback):
    """
    At each evaluation that is a task's best so far, saves the model of that task alone, see [`RunFolder.best_of`].

    The step and the score are saved beside the model. What earlier evaluations scored is read from the trainer's
    state, so a resumed run keeps what the interrupted one found.

    Args:
        tasks (`Mapping[str, TaskSpec]`):
            The tasks by name; more of each one's `metric` is better.
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
        """Saves the models of the tasks that never scored better."""
        if not state.is_world_process_zero:
            return
        for name, task in self.tasks.items():
            key = f"eval_{name}_{task.metric}"
            earlier = [entry[key] for entry in state.log_history if key in entry and entry["step"] < state.global_step]
            if key in metrics and all(metrics[key] > score for score in earlier):
                run = RunFolder(Path(args.output_dir))
                plain = merge_lora(model) if isinstance(model, PeftModel) else model
                plain.extract(name).save_pretrained(run.best_of(name))
                processing_class.save_pretrained(run.best_of(name))
                run.write_best_score(name, {"step": state.global_step, task.metric: metrics[key]})


class EpochSampler(Protocol):
    """A sampler whose order is a pure function of its seed and epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Turns to the order of `epoch`, 0 or more."""


SamplerOfEpochs = TypeVar("SamplerOfEpochs", bound=EpochSampler)


class _SetSamplerEpoch(TrainerCallback):
    """Tells the sampler its epoch: on resume with several processes accelerate's own call does not reach it."""

    def __init__(self, sampler: SamplerOfEpochs) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch + 1e-6))

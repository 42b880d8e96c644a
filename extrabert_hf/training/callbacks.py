"""Callbacks of training: the epoch of the sampler, the best model of each task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.data_loader import BatchSamplerShard
from peft import PeftModel
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from extrabert_hf.data.multitask import StepSampler
from extrabert_hf.data.samplers import LengthBucketSampler, TokenBudgetBatchSampler
from extrabert_hf.files import atomic_folder
from extrabert_hf.pretrained.lora import merge_lora
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.records import BestScore
from extrabert_hf.tasks import TaskSpec


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

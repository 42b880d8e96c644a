"""Training of one encoder on several tasks: one gradient per task, combined at each step by surgery or by weights."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import (
    DataCollator,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import PredictionOutput

from extrabert_hf.data.multitask import MultiTaskDataset, StepSampler
from extrabert_hf.data.samplers import mixed_generator
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import aggregate_scores
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.gradient_conflicts import GradientConflicts
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.callbacks import ForgetEarlierSteps
from extrabert_hf.training.gradient_surgery import average_gradients, combine, get_aggregator, gram_matrix
from extrabert_hf.training.loss_weighting_trainer import LossWeightingTrainer
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.setup import prepare_process
from extrabert_hf.training.trainer import default_arguments, encoder_parameters


class MultiTaskTrainer(LossWeightingTrainer):
    """
    An [`ExtraBertTrainer`] for [`ExtraBertForMultiTask`].

    Each step runs the tasks of the batch forward and backward one after the other, so that only the activations of
    one task are in memory. The encoder's gradient of each task is averaged over micro-batches and processes; once an
    optimizer step, the aggregator or the weighting of the losses combines these gradients. Poolings and heads keep the
    gradient of their own task.

    Args:
        args (`TrainingArguments`, *optional*):
            As for [`ExtraBertTrainer`], without `max_tokens_per_batch`.
        data_collator ([`DataCollatorForMultiTask`], *optional*):
            Collates items of the data set into a batch for each task.
        train_dataset ([`MultiTaskDataset`], *optional*):
            Tokenised rows of every task.
        eval_dataset (`dict[str, Dataset]`, *optional*):
            Tokenised rows by task. `evaluate` returns `eval_<task>_<metric>` and the aggregates of
            [`aggregate_scores`], such as `eval_mean`.
        tasks (`Mapping[str, TaskSpec]`):
            The tasks by name, as in the model.
        multitask ([`MultiTaskArguments`]):
            The aggregator, the weighting of the losses, and how the tasks are mixed.
        metrics_of (`Mapping[str, Callable[[EvalPrediction], dict]]`, *optional*):
            By task, a function like `compute_metrics` of the `Trainer`.

    Raises:
        [`InputError`]: under FSDP, DeepSpeed, or `DataParallel`, which split or hide the gradients of the tasks.
    """

    def __init__(
        self,
        model: PreTrainedModel | None = None,
        args: TrainingArguments | None = None,
        data_collator: DataCollator | None = None,
        train_dataset: MultiTaskDataset | None = None,
        eval_dataset: dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        model_init: Callable[..., PreTrainedModel] | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        *,
        tasks: Mapping[str, TaskSpec],
        multitask: MultiTaskArguments,
        metrics_of: Mapping[str, Callable[[EvalPrediction], dict[str, float]]] | None = None,
    ) -> None:
        if compute_metrics is not None:
            raise InputError("`compute_metrics` is for one task: use `metrics_of` with a function for each task.")
        args = prepare_process(args or default_arguments(eval_dataset))
        if args.max_tokens_per_batch is not None:
            raise InputError(
                "`max_tokens_per_batch` is for one task: a batch of several tasks has the same number of rows of each."
            )
        super().__init__(
            model,
            args,
            data_collator,
            train_dataset,
            _datasets_by_task(eval_dataset) if eval_dataset else eval_dataset,
            processing_class,
            model_init,
            compute_loss_func,
            compute_metrics,
            callbacks,
            optimizers,
            optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics,
            multitask=multitask,
        )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or self.args.n_gpu > 1:
            kind = "FSDP" if self.is_fsdp_enabled else "DeepSpeed" if self.is_deepspeed_enabled else "DataParallel"
            raise InputError(
                f"multitask training runs in one process a device (`extrabert configs accelerate/multi_gpu`), got "
                f"{kind}: it does not hold whole gradients of each task."
            )
        self.tasks = dict(tasks)
        self.metrics_of = metrics_of or {}
        self.aggregator = get_aggregator(multitask.aggregator)
        self.conflicts = GradientConflicts(RunFolder(Path(self.args.output_dir)).conflicts_file)
        self.add_callback(self.conflicts)
        self._gradients: dict[str, list[torch.Tensor | None]] = {}  # of the encoder, by task, over micro-batches
        self._losses: dict[str, list[torch.Tensor]] = {}  # by task, since the last log line
        collected = (self._gradients, self._losses, self._weights, self._losses_before, self._batches)
        self.add_callback(ForgetEarlierSteps(*collected))

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, dict[str, torch.Tensor]],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """
        Runs the batch of each task forward and backward, and combines the gradients at the end of an optimizer step.

        Args:
            model (`nn.Module`):
                The model as the `Trainer` has wrapped it.
            inputs (`dict[str, dict[str, torch.Tensor]]`):
                A batch for each task.
            num_items_in_batch (`int`, *optional*):
                Not used: the loss of a task is a mean over the rows of the batch.

        Returns:
            `torch.Tensor` of shape `()`: the mean of the tasks' losses, over the accumulation steps.
        """
        model.train()
        self.optimizer.train()  # schedule-free optimizers need train mode
        shared = self._shared_parameters()
        losses = []
        inputs = self._prepare_inputs(inputs)
        self._keep_batch(inputs)
        for task, batch in inputs.items():
            gradients = self._gradients.get(task, [None] * len(shared))
            for parameter, gradient in zip(shared, gradients, strict=True):
                parameter.grad = gradient  # backward adds to the gradient of earlier micro-batches in place
            with self.accelerator.no_sync(model=model):  # `_join_gradients` averages over processes
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, {**batch, "task": task})
                self.accelerator.backward(loss / self.current_gradient_accumulation_steps)
            self._gradients[task] = [parameter.grad for parameter in shared]
            losses.append(loss.detach())
            self._losses.setdefault(task, []).append(loss.detach())
        for parameter in shared:
            parameter.grad = None
        if self.accelerator.sync_gradients:
            self._join_gradients(shared)
        return torch.stack(losses).mean() / self.current_gradient_accumulation_steps

    def _shared_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in encoder_parameters(self.model) if parameter.requires_grad]

    def _join_gradients(self, shared: list[nn.Parameter]) -> None:
        tasks, gradients = list(self._gradients), list(self._gradients.values())
        self._gradients.clear()
        if self.args.world_size > 1:
            average_gradients(shared, gradients)
            encoder = {id(parameter) for parameter in shared}
            own = [p for p in self.model.parameters() if p.requires_grad and id(p) not in encoder]
            own_gradients = [parameter.grad for parameter in own]
            average_gradients(own, [own_gradients])
            for parameter, gradient in zip(own, own_gradients, strict=True):
                parameter.grad = gradient
        gram = gram_matrix(gradients)  # (T, T)
        self.conflicts.add(self.state.global_step + 1, tasks, gram)
        coefficients = torch.ones(len(tasks), dtype=gram.dtype)  # the plain sum, for one task or after an overflow
        if len(tasks) > 1 and gram.isfinite().all():
            if self.weighting is None:
                generator = mixed_generator(self.args.seed, self.state.global_step)  # the same on every process
                coefficients = self.aggregator(gram, generator)
            else:
                parts = self.current_gradient_accumulation_steps
                coefficients = self._weigh([self._losses[task][-parts:] for task in tasks])
        for parameter, update in zip(shared, combine(coefficients, gradients), strict=True):
            parameter.grad = update

    def _get_train_sampler(self, train_dataset: MultiTaskDataset | None = None) -> torch.utils.data.Sampler:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        lengths = dataset.lengths if self.args.length_buckets else None

        def sampler(num_epochs: int) -> StepSampler:
            return self.multitask.sampler(dataset.sizes, lengths, self.global_batch_size, self.data_seed, num_epochs)

        num_epochs = math.ceil(self.args.num_train_epochs)
        if self.multitask.mixing == "annealed" and self.args.max_steps > 0:
            num_epochs = math.ceil(self.args.max_steps / sampler(num_epochs=1).steps)
        return sampler(num_epochs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds each task's loss and its weight, the cosines between the gradients, and the share of conflicts."""
        if "loss" in logs:
            for task, losses in self._losses.items():
                logs[f"loss_{task}"] = self.accelerator.gather(torch.stack(losses).mean().reshape(1)).mean().item()
            self._losses.clear()
            logs |= self._loss_weights() | self.conflicts.window()
        logs.pop("train_samples_per_second", None)  # the Trainer counts rows of the data set, not rows of a step
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: dict[str, Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """
        Scores every task, and aggregates the scores of all tasks.

        Args:
            eval_dataset (`dict[str, Dataset]`, *optional*):
                Tokenised rows by task. The default is the trainer's `eval_dataset`.
            ignore_keys (`list[str]`, *optional*):
                Fields of the model's output that are not collected, as in the `Trainer`.
            metric_key_prefix (`str`, defaults to `"eval"`):
                Prefix of each name in the result.

        Returns:
            `dict[str, float]`: `<prefix>_<task>_<metric>`, `<prefix>_<task>_loss`, `<prefix>_loss` (the mean of the
            losses) and `<prefix>_mean`, `<prefix>_cs224n_2024`, `<prefix>_worst`.
        """
        datasets = self.eval_dataset if eval_dataset is None else _datasets_by_task(eval_dataset)
        logs: dict[str, float] = {}
        for task, dataset in datasets.items():
            self.compute_metrics = self.metrics_of.get(task)
            # persistent workers stay for the next evaluation, under the name of the task
            own = eval_dataset is None
            loader = self.get_eval_dataloader(task) if own else self.get_test_dataloader(dataset)
            prefix = f"{metric_key_prefix}_{task}"
            logs |= self.evaluation_loop(loader, prefix, ignore_keys=ignore_keys, metric_key_prefix=prefix).metrics
        losses = [logs[f"{metric_key_prefix}_{task}_loss"] for task in datasets]
        logs[f"{metric_key_prefix}_loss"] = sum(losses) / len(losses)
        if self.metrics_of:
            tasks = {task: self.tasks[task] for task in datasets}
            metrics = {
                name: {spec.metric: logs[f"{metric_key_prefix}_{name}_{spec.metric}"]} for name, spec in tasks.items()
            }
            logs |= {f"{metric_key_prefix}_{name}": value for name, value in aggregate_scores(tasks, metrics).items()}
        self.log(logs)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    def _get_eval_sampler(self, eval_dataset: MultiTaskDataset) -> list[dict[str, tuple[int, ...]]]:
        ((task, size),) = eval_dataset.sizes.items()
        return [{task: (row,)} for row in range(size)]

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Predicts a batch of one task, and adds the tensors of the batch to `inputs`, for `include_for_metrics`."""
        ((task, batch),) = inputs.items()
        batch = {**batch, "task": task}
        outputs = super().prediction_step(model, batch, *args, **kwargs)
        inputs |= batch
        return outputs

    def predict(
        self,
        test_dataset: dict[str, Dataset] | MultiTaskDataset,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "test",
    ) -> PredictionOutput:
        """As in the `Trainer`, for the rows of one task, `{task: rows}`; raises [`InputError`] for several tasks."""
        datasets = test_dataset
        if isinstance(datasets, MultiTaskDataset):
            datasets = {task: datasets for task in datasets.sizes}
        if not isinstance(datasets, Mapping) or len(datasets) != 1:
            got = f"the tasks {', '.join(datasets)}" if isinstance(datasets, Mapping) else type(datasets).__name__
            raise InputError(
                f"`predict` takes the rows of one task, as {{'{next(iter(self.tasks))}': rows}}, got {got}."
            )
        ((task, dataset),) = _datasets_by_task(datasets).items()
        self.compute_metrics = self.metrics_of.get(task)
        return super().predict(dataset, ignore_keys, metric_key_prefix)

    def floating_point_ops(self, inputs: dict[str, dict[str, torch.Tensor]]) -> int:
        """Sums the floating-point operations of the tasks' batches, as the `Trainer` estimates these."""
        return sum(super(MultiTaskTrainer, self).floating_point_ops(batch) for batch in inputs.values())

    def _track_num_input_tokens(self, inputs: dict[str, dict[str, torch.Tensor]]) -> None:
        for batch in inputs.values():
            super()._track_num_input_tokens(batch)


def _datasets_by_task(rows: Mapping[str, Dataset | MultiTaskDataset]) -> dict[str, MultiTaskDataset]:
    """Makes a data set of one task from the rows of each, as the collator needs it."""
    return {
        task: of_task if isinstance(of_task, MultiTaskDataset) else MultiTaskDataset({task: of_task})
        for task, of_task in rows.items()
    }

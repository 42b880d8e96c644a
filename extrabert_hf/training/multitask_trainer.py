"""One encoder trained on several tasks: a gradient a task, joined by gradient surgery once an optimizer step."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from datasets import Dataset
from torch import nn
from transformers import EvalPrediction

from extrabert_hf.data.multitask import MultiTaskDataset, StepSampler
from extrabert_hf.data.samplers import mixed_generator
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import aggregate_scores
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.gradient_conflicts import GradientConflicts
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.gradient_surgery import combine, get_aggregator, gram_matrix
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.trainer import ExtraBertTrainer, encoder_parameters


class MultiTaskTrainer(ExtraBertTrainer):
    """
    An [`ExtraBertTrainer`] for [`ExtraBertForMultiTask`].

    At each step the tasks of the batch are run forward and backward one after the other, so that the activations of
    one task only are held. The encoder's gradient of each task is averaged over micro-batches and processes; once an
    optimizer step the aggregator joins them. Poolings and heads keep their own task's gradient.

    Args:
        tasks (`Mapping[str, TaskSpec]`):
            The tasks by name, as in the model.
        multitask ([`MultiTaskArguments`]):
            The aggregator, and how the tasks are mixed.
        train_dataset ([`MultiTaskDataset`]):
            Tokenised rows of every task.
        eval_dataset (`dict[str, Dataset]`, *optional*):
            Tokenised rows by task. `evaluate` gives `eval_<task>_<metric>` and the aggregates of [`aggregate_scores`],
            such as `eval_mean`.
        metrics_of (`Mapping[str, Callable[[EvalPrediction], dict]]`, *optional*):
            By task, what the `Trainer` calls `compute_metrics`.
        data_collator ([`DataCollatorForMultiTask`]):
            Items to `{task: batch}`.

    Raises:
        [`InputError`]: under FSDP, DeepSpeed, or `DataParallel`, which split or hide the tasks' gradients.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, TaskSpec],
        multitask: MultiTaskArguments,
        metrics_of: Mapping[str, Callable[[EvalPrediction], dict[str, float]]] | None = None,
        **kwargs: Any,
    ) -> None:
        args = kwargs["args"]
        if args.max_tokens_per_batch is not None:
            raise InputError("`max_tokens_per_batch` is for one task, a batch of each of several has as many rows.")
        super().__init__(**kwargs)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or self.args.n_gpu > 1:
            kind = "FSDP" if self.is_fsdp_enabled else "DeepSpeed" if self.is_deepspeed_enabled else "DataParallel"
            raise InputError(
                f"multitask training runs in one process a device (recipes/configs/accelerate/multi_gpu.yaml), got "
                f"{kind}: it does not hold whole gradients of each task."
            )
        self.tasks = dict(tasks)
        self.multitask = multitask
        self.metrics_of = metrics_of or {}
        self.aggregator = get_aggregator(multitask.aggregator)
        self.conflicts = GradientConflicts(RunFolder(Path(args.output_dir)).conflicts_file)
        self.add_callback(self.conflicts)
        self._gradients: dict[str, list[torch.Tensor | None]] = {}  # the encoder's, by task
        self._losses: dict[str, list[torch.Tensor]] = {}  # since the last log line

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, dict[str, torch.Tensor]],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """
        Runs each task's batch forward and backward, and at the end of an optimizer step joins the gradients.

        Args:
            model (`nn.Module`):
                The model, wrapped as the `Trainer` does.
            inputs (`dict[str, dict[str, torch.Tensor]]`):
                A batch a task.
            num_items_in_batch (`int`, *optional*):
                Not used: every loss is a mean over its batch.

        Returns:
            `torch.Tensor` of shape `()`: the mean of the tasks' losses, over the accumulation steps.
        """
        model.train()
        self.optimizer.train()  # of use to those that average weights
        shared = self._shared_parameters()
        losses = []
        for task, batch in self._prepare_inputs(inputs).items():
            gradients = self._gradients.get(task, [None] * len(shared))
            for parameter, gradient in zip(shared, gradients, strict=True):
                parameter.grad = gradient  # of the micro-batches before: backward adds to it in place
            with self.accelerator.no_sync(model=model):  # processes average the tasks apart, in `_join_gradients`
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
        self._gradients = {}
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
        coefficients = torch.ones(len(tasks), dtype=gram.dtype)  # one task, or an overflow: nothing to operate on
        if len(tasks) > 1 and gram.isfinite().all():
            generator = mixed_generator(self.args.seed, self.state.global_step)  # the same on every process
            coefficients = self.aggregator(gram, generator)
        for parameter, update in zip(shared, combine(coefficients, gradients), strict=True):
            parameter.grad = update

    def _get_train_sampler(self, train_dataset: MultiTaskDataset | None = None) -> torch.utils.data.Sampler:
        self._gradients, self._losses = {}, {}  # training begins: of a run that broke off they are still there
        dataset = self.train_dataset if train_dataset is None else train_dataset
        lengths = dataset.lengths if self.args.length_buckets else None

        def sampler(num_epochs: int) -> StepSampler:
            return self.multitask.sampler(dataset.sizes, lengths, self.global_batch_size, self.data_seed, num_epochs)

        num_epochs = math.ceil(self.args.num_train_epochs)
        if self.multitask.mixing == "annealed" and self.args.max_steps > 0:
            num_epochs = math.ceil(self.args.max_steps / sampler(num_epochs=1).steps)
        return self._follow_epochs(sampler(num_epochs))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds each task's loss, the cosines of their gradients and the share of conflicting steps."""
        if "loss" in logs:
            for task, losses in self._losses.items():
                logs[f"loss_{task}"] = self.accelerator.gather(torch.stack(losses).mean().reshape(1)).mean().item()
            self._losses = {}
            logs |= self.conflicts.window()
        logs.pop("train_samples_per_second", None)  # the Trainer's counts the rows that there are, not those of a step
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: dict[str, Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """
        Scores every task, and the tasks together.

        Args:
            eval_dataset (`dict[str, Dataset]`, *optional*):
                Tokenised rows by task; by default the trainer's own.
            ignore_keys (`list[str]`, *optional*):
                As for the `Trainer`.
            metric_key_prefix (`str`, defaults to `"eval"`):
                What each name starts with.

        Returns:
            `dict[str, float]`: `<prefix>_<task>_<metric>`, `<prefix>_<task>_loss`, `<prefix>_loss` (their mean) and
            `<prefix>_mean`, `<prefix>_cs224n_2024`, `<prefix>_worst`.
        """
        datasets = self.eval_dataset if eval_dataset is None else eval_dataset
        logs: dict[str, float] = {}
        for task, rows in datasets.items():
            self.compute_metrics = self.metrics_of.get(task)
            self._eval_dataloaders = {}  # of another task: persistent workers are kept by a name they all share
            loader = self.get_eval_dataloader(MultiTaskDataset({task: rows}))
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
        self, model: nn.Module, inputs: dict[str, dict[str, torch.Tensor]], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """As the `Trainer`'s, for a batch of one task."""
        ((task, batch),) = inputs.items()
        return super().prediction_step(model, {**batch, "task": task}, *args, **kwargs)


def average_gradients(parameters: Sequence[nn.Parameter], gradients: list[list[torch.Tensor | None]]) -> None:
    """
    Averages gradients over the processes, in place.

    Args:
        parameters (`Sequence[nn.Parameter]`):
            The `P` parameters.
        gradients (`list[list[torch.Tensor | None]]`):
            `T` lists of `P` gradients. One that is `None` on this process and not on another becomes its share of 0.
    """
    if not parameters:  # a frozen encoder
        return
    there = torch.tensor([[gradient is not None for gradient in row] for row in gradients], dtype=torch.int32)
    there = there.to(parameters[0].device)  # (T, P)
    dist.all_reduce(there, op=dist.ReduceOp.MAX)
    for row, row_there in zip(gradients, there.tolist(), strict=True):
        for index, (gradient, is_there) in enumerate(zip(row, row_there, strict=True)):
            if gradient is None and is_there:
                row[index] = torch.zeros_like(parameters[index])
    present = [gradient for row in gradients for gradient in row if gradient is not None]
    for work in [dist.all_reduce(gradient, async_op=True) for gradient in present]:
        work.wait()
    for gradient in present:
        gradient.div_(dist.get_world_size())

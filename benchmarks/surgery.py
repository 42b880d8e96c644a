"""
The work that is measured for the cost of gradient surgery: training on several tasks with different backward methods.

All contenders train the same model on the same batches, with the same gradient clipping and optimizer. Only the
backward method differs: how the losses of the tasks become the gradient of each parameter.
"""

import functools
import importlib.util
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import set_seed

from benchmarks.workloads import MAX_LENGTH, Rows, Setting
from extrabert_hf.data.collators import DataCollatorForMultiTask, DataCollatorForSentences
from extrabert_hf.data.multitask import MultiTaskDataset
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.models import ExtraBertForMultiTask
from extrabert_hf.pretrained.building import build_multitask_model
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.trainer import encoder_parameters
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

logger = logging.getLogger(f"extrabert_hf.{__name__}")  # `command_console` shows the messages of this package

BackwardMethod = Callable[[ExtraBertForMultiTask, Iterator[torch.Tensor]], None]
"""
Takes the model and the losses of the tasks, and sets `grad` of every parameter. Each `next` on the losses runs the
forward pass of one task.
"""


def mean_backward(model: ExtraBertForMultiTask, losses: Iterator[torch.Tensor]) -> None:
    """Mean of the losses in one backward pass; the activations of all tasks are held at the same time."""
    torch.stack(list(losses)).mean().backward()


def mean_backward_by_task(model: ExtraBertForMultiTask, losses: Iterator[torch.Tensor]) -> None:
    """Mean of the losses in one backward pass for each task; the activations of one task are held at a time."""
    for loss in losses:
        (loss / len(model.config.tasks)).backward()


def whole_vector_pcgrad(model: ExtraBertForMultiTask, losses: Iterator[torch.Tensor]) -> None:
    """
    PCGrad as the repository WeiChengTseng/Pytorch-PCGrad implements it, with its default reduction, the mean.

    One backward pass for each task, with all graphs retained. A task's gradient is one vector over all parameters,
    heads included, with zeros where the task does not reach a parameter. A clone of each gradient is compared with the
    gradients of all tasks in random order; the projection on each conflicting gradient is subtracted from the clone.
    Parameters that all tasks reach get the mean of the clones, the other parameters get the sum of the clones.
    """
    losses = list(losses)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    task_gradients, reached = [], []  # (P,) each, by task
    for loss in losses:
        model.zero_grad()
        loss.backward(retain_graph=True)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        task_gradients.append(torch.cat([gradient.flatten() for gradient in gradients]))
        reached.append(torch.cat([torch.full((p.numel(),), p.grad is not None, device=p.device) for p in parameters]))
    clones = [gradient.clone() for gradient in task_gradients]
    for clone in clones:
        for index in torch.randperm(len(task_gradients)).tolist():
            gradient = task_gradients[index]
            if (product := clone @ gradient) < 0:
                clone -= product / gradient.norm() ** 2 * gradient
    shared = torch.stack(reached).all(dim=0)  # (P,)
    update = torch.empty_like(task_gradients[0])
    update[shared] = torch.stack([clone[shared] for clone in clones]).mean(dim=0)
    update[~shared] = torch.stack([clone[~shared] for clone in clones]).sum(dim=0)
    for parameter, part in zip(parameters, update.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def torchjd_pcgrad(model: ExtraBertForMultiTask, losses: Iterator[torch.Tensor]) -> None:
    """
    PCGrad of torchjd, set up as in the multi-task example of its documentation; the features are the token states.

    `parallel_chunk_size=1` differentiates one task after the other, which takes less memory than all in parallel. Each
    backward pass still goes through the encoder's graphs of all tasks, with zero gradients for the other tasks.
    """
    from torchjd.aggregation import PCGrad
    from torchjd.autojac import jac_to_grad, mtl_backward

    features: list[torch.Tensor] = []
    hook = model.backbone.register_forward_hook(lambda module, args, out: features.append(out.last_hidden_state))
    losses = list(losses)
    hook.remove()
    shared = encoder_parameters(model)
    mtl_backward(losses, features=features, shared_params=shared, parallel_chunk_size=1)
    jac_to_grad(shared, PCGrad())


def other_methods() -> dict[str, BackwardMethod]:
    """Returns the backward methods measured beside ours and the plain mean, by name; torchjd's if it is installed."""
    methods = {"mean, one backward a task": mean_backward_by_task, "PCGrad on whole vectors": whole_vector_pcgrad}
    if importlib.util.find_spec("torchjd") is None:
        logger.info("torchjd is not measured, it is not installed: pip install 'extrabert_hf[torchjd]'")
        return methods
    return {**methods, "PCGrad of torchjd": torchjd_pcgrad}


class BackwardTrainer(MultiTaskTrainer):
    """
    A [`MultiTaskTrainer`] with another backward method, for one process without gradient accumulation.

    Args:
        backward (`Callable`):
            The backward method.
        kwargs:
            As for [`MultiTaskTrainer`].
    """

    def __init__(self, *, backward: BackwardMethod, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backward = backward

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, dict[str, torch.Tensor]],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Runs the forward passes and the backward method, and returns the mean of the tasks' losses, shape `()`."""
        model.train()
        computed: list[torch.Tensor] = []

        def losses() -> Iterator[torch.Tensor]:
            for task, batch in self._prepare_inputs(inputs).items():
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, {**batch, "task": task})
                computed.append(loss.detach())
                yield loss

        self.backward(self.model, losses())
        return torch.stack(computed).mean()


def surgery_trainer(
    setting: Setting, rows: Rows, backward: BackwardMethod | None = None, **fields: Any
) -> MultiTaskTrainer:
    """
    Builds a trainer of several tasks as [`finetune`] does.

    Args:
        setting ([`Setting`]):
            The settings that all contenders share; all of them train in the precision that `bf16` selects.
        rows (`Mapping[str, Dataset]`):
            The training rows by task, the same number for each task.
        backward (`Callable`, *optional*):
            The backward method; `None` is gradient surgery of this package with PCGrad.
        fields:
            Fields of [`ExtraBertTrainingArguments`] that differ from this package's defaults.
    """
    tasks = {name: PAPER_TASKS[name] for name in rows}
    of_heads = {name: {"pooling": "multiplicative", "feed_forward_residual": True} for name in tasks}
    fields = {"bf16": setting.bf16, **fields}
    args = ExtraBertTrainingArguments(load_best_model_at_end=False, **setting.training_fields(), **fields)
    set_seed(args.seed)
    model, tokenizer = build_multitask_model(setting.model_name_or_path, tasks, config_fields=of_heads)
    tokenizer.model_max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    trainer_class = MultiTaskTrainer if backward is None else functools.partial(BackwardTrainer, backward=backward)
    return trainer_class(
        model=model,
        args=args,
        tasks=tasks,
        multitask=MultiTaskArguments(tasks=list(tasks), aggregator="pcgrad"),
        train_dataset=MultiTaskDataset({name: tokenize_dataset(split, tokenizer) for name, split in rows.items()}),
        data_collator=DataCollatorForMultiTask(DataCollatorForSentences(tokenizer.pad_token_id)),
        processing_class=tokenizer,
    )

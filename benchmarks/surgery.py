"""
Who is measured for the cost of gradient surgery: ways from the losses of several tasks to the gradients of a step.

All train the same model on the same batches in the same loop, with the same clipping and optimizer; they differ in
what happens between the losses and the gradients.
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
from extrabert_hf.pretrained.loading import build_multitask_model
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.trainer import encoder_parameters
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

logger = logging.getLogger(__name__)

Backward = Callable[[ExtraBertForMultiTask, Iterator[torch.Tensor]], None]
"""A model and the losses of its tasks, each computed when it is asked for -> `grad` of every parameter."""


def mean_backward(model: ExtraBertForMultiTask, losses: Iterator[torch.Tensor]) -> None:
    """The plain mean: one backward through all tasks, whose activations are held at once. No task has a gradient."""
    torch.stack(list(losses)).mean().backward()


def mean_backward_by_task(model: ExtraBertForMultiTask, losses: Iterator[torch.Tensor]) -> None:
    """The plain mean, thrifty: each task's loss goes backward before the next one is computed, adding to `grad`."""
    for loss in losses:
        (loss / len(model.config.tasks)).backward()


def whole_vector_pcgrad(model: ExtraBertForMultiTask, losses: Iterator[torch.Tensor]) -> None:
    """
    PCGrad as the repository WeiChengTseng/Pytorch-PCGrad does it, with its default, the mean over the tasks.

    One backward a task through graphs that are all kept. A task's gradient is one vector over all parameters, heads
    included, 0 where it does not reach; a clone of each visits the vectors in a random order and loses its projection
    on those it opposes. Parameters that every task reaches get the mean of the clones, the others their sum.
    """
    losses = list(losses)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    vectors, reached = [], []  # (P,) each, by task
    for loss in losses:
        model.zero_grad()
        loss.backward(retain_graph=True)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        vectors.append(torch.cat([gradient.flatten() for gradient in gradients]))
        reached.append(torch.cat([torch.full((p.numel(),), p.grad is not None, device=p.device) for p in parameters]))
    clones = [vector.clone() for vector in vectors]
    for clone in clones:
        for index in torch.randperm(len(vectors)).tolist():
            vector = vectors[index]
            if (product := clone @ vector) < 0:
                clone -= product / vector.norm() ** 2 * vector
    shared = torch.stack(reached).all(dim=0)  # (P,)
    update = torch.empty_like(vectors[0])
    update[shared] = torch.stack([clone[shared] for clone in clones]).mean(dim=0)
    update[~shared] = torch.stack([clone[~shared] for clone in clones]).sum(dim=0)
    for parameter, part in zip(parameters, update.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def torchjd_pcgrad(model: ExtraBertForMultiTask, losses: Iterator[torch.Tensor]) -> None:
    """
    PCGrad of torchjd, as its guide to multi-task learning sets it up, the encoder's token states the features.

    One task after the other (`parallel_chunk_size`), which takes less memory than all in parallel. Even so each pass
    goes backward through the encodings of every task, with zeros for the others.
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


class BackwardTrainer(MultiTaskTrainer):
    """
    A [`MultiTaskTrainer`] with another way from the losses to the gradients, in one process, one batch a step.

    Args:
        backward (`Callable`):
            The way.
        kwargs:
            As for [`MultiTaskTrainer`].
    """

    def __init__(self, *, backward: Backward, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backward = backward

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, dict[str, torch.Tensor]],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Runs the tasks forward as `backward` asks for their losses; gives the mean of these."""
        model.train()
        given: list[torch.Tensor] = []

        def losses() -> Iterator[torch.Tensor]:
            for task, batch in self._prepare_inputs(inputs).items():
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, {**batch, "task": task})
                given.append(loss.detach())
                yield loss

        self.backward(self.model, losses())
        return torch.stack(given).mean()


def surgery_trainer(setting: Setting, rows: Rows, backward: Backward | None = None) -> MultiTaskTrainer:
    """
    Sets up a trainer of several tasks as [`finetune`] does.

    Args:
        setting ([`Setting`]):
            What the contenders share; all of them train in its precision.
        rows (`Mapping[str, Dataset]`):
            The rows of the epoch by task, as many of each.
        backward (`Callable`, *optional*):
            The contender's way from the losses to the gradients; by default ours, with PCGrad.
    """
    tasks = {name: PAPER_TASKS[name] for name in rows}
    fields = {name: {"pooling": "multiplicative", "feed_forward_residual": True} for name in tasks}
    args = ExtraBertTrainingArguments(load_best_model_at_end=False, bf16=setting.bf16, **setting.training_fields())
    set_seed(args.seed)
    model, tokenizer = build_multitask_model(setting.model_name_or_path, tasks, config_fields=fields)
    tokenizer.model_max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    trainer_class = MultiTaskTrainer if backward is None else functools.partial(BackwardTrainer, backward=backward)
    return trainer_class(
        model=model,
        args=args,
        tasks=tasks,
        multitask=MultiTaskArguments(tasks=list(tasks), aggregator="pcgrad"),
        train_dataset=MultiTaskDataset({name: tokenize_dataset(some, tokenizer) for name, some in rows.items()}),
        data_collator=DataCollatorForMultiTask(DataCollatorForSentences(tokenizer.pad_token_id)),
        processing_class=tokenizer,
    )


def other_ways() -> dict[str, Backward]:
    """Gives those measured beside ours and the plain mean, by name; torchjd's where it is installed."""
    ways = {"mean, one backward a task": mean_backward_by_task, "PCGrad on whole vectors": whole_vector_pcgrad}
    if importlib.util.find_spec("torchjd") is None:
        logger.info("torchjd is not measured, it is not installed: pip install 'extrabert_hf[torchjd]'")
        return ways
    return {**ways, "PCGrad of torchjd": torchjd_pcgrad}

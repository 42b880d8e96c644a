"""The part of a multitask trainer that weights the losses: their values, what the weighting learns, its checkpoint."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import TrainOutput

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.files import write_json
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.training.loss_weighting import LossWeighting
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.trainer import ExtraBertTrainer


class LossWeightingTrainer(ExtraBertTrainer):
    """
    The base class of [`MultiTaskTrainer`], which holds the [`LossWeighting`] of the present training.

    The weighting learns after each optimizer step. Each checkpoint has its state, which [`RunFolder`] names.

    Args:
        args, kwargs:
            As for [`ExtraBertTrainer`].
        multitask ([`MultiTaskArguments`]):
            Its `loss_weighting` selects the weighting.
    """

    def __init__(self, *args: Any, multitask: MultiTaskArguments, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.multitask = multitask
        self.weighting: LossWeighting | None = None
        self._weights: dict[str, list[float]] = {}  # by task, since the last log line
        self._losses_before: list[torch.Tensor] = []  # one `(T,)`, of the step that the weighting learns from
        self._batches: list[Mapping[str, Mapping[str, Any]]] = []  # of that step, for `needs_losses_after`

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        tasks = [] if self.train_dataset is None else list(self.train_dataset.sizes)
        self.weighting = self.multitask.weighting(tasks)
        return super()._inner_training_loop(*args, **kwargs)

    def _keep_batch(self, inputs: Mapping[str, Mapping[str, Any]]) -> None:
        """Keeps a micro-batch for the end of the optimizer step, if the weighting needs its losses after the step."""
        if self.weighting is not None and self.weighting.needs_losses_after:
            self._batches.append(inputs)

    def _weigh(self, losses: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
        """Returns coefficients `(T,)`, equal on all processes, for each task's losses of the step's micro-batches."""
        self._losses_before[:] = [self._mean(losses)]
        coefficients = self.weighting.coefficients(self._losses_before[0])
        for task, weight in self.weighting.last_weights.items():
            self._weights.setdefault(task, []).append(weight)
        return coefficients

    def _mean(self, losses: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
        """Returns each task's mean loss over micro-batches and processes, `(T,)`."""
        means = torch.stack([torch.stack([*of_task]).mean() for of_task in losses])  # (T,)
        return self.accelerator.gather(means).view(-1, len(means)).mean(dim=0)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        self._update_weighting()  # the `Trainer` calls this method after each optimizer step, and once an epoch
        super()._maybe_log_save_evaluate(*args, **kwargs)

    @torch.no_grad()
    def _update_weighting(self) -> None:
        """Lets the weighting learn from the last optimizer step, if no overflow of float16 has skipped the step."""
        if self._losses_before and not self.accelerator.optimizer_step_was_skipped:
            after: dict[str, list[torch.Tensor]] = {}
            for inputs in self._batches:
                for task, batch in inputs.items():
                    with self.compute_loss_context_manager():
                        loss = self.compute_loss(self.model_wrapped, {**batch, "task": task})
                    after.setdefault(task, []).append(loss)
            self.weighting.update(self._losses_before[0], self._mean([*after.values()]) if after else None)
        self._losses_before.clear()
        self._batches.clear()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.weighting is not None and self.args.should_save:
            write_json(Path(output_dir) / RunFolder.LOSS_WEIGHTING, self.weighting.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.weighting is not None and checkpoint is not None:
            path = Path(checkpoint) / RunFolder.LOSS_WEIGHTING
            try:
                self.weighting.load_state_dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                raise InputError(
                    f"the checkpoint {checkpoint} can't be resumed from: {path.name} is missing or damaged "
                    f"({one_line(error)})."
                ) from error

    def _loss_weights(self) -> dict[str, float]:
        """Returns the mean weight of each task's loss since the last call, for a log line."""
        means = {f"loss_weight_{task}": sum(weights) / len(weights) for task, weights in self._weights.items()}
        self._weights.clear()
        return means

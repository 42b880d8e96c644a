"""The HF Trainer, with a learning rate of their own for heads and poolings, and batches of like length."""

from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from extrabert_hf.data.samplers import LengthBucketSampler


class ExtraBertTrainer(Trainer):
    """
    A [`~transformers.Trainer`] for the models of this package.

    Args:
        args ([`ExtraBertTrainingArguments`]):
            As for the `Trainer`, with `head_learning_rate` and `length_buckets`.
        train_dataset (`Dataset`):
            With a column `length` (see [`tokenize_dataset`]) where `length_buckets` is on.
    """

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Groups parameters by weight decay and by learning rate: the encoder's, and the head's and pooling's."""
        model = self.model if model is None else model
        if self.optimizer is None and self.args.head_learning_rate is not None:
            decayed = set(self.get_decay_parameter_names(model))
            groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((_is_head(name), name in decayed), []).append(parameter)
            optimizer_class, kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = optimizer_class(
                [
                    {
                        "params": parameters,
                        "lr": self.args.head_learning_rate if is_head else self.args.learning_rate,
                        "weight_decay": self.args.weight_decay if is_decayed else 0.0,
                    }
                    for (is_head, is_decayed), parameters in groups.items()
                ],
                **kwargs,
            )
        return super().create_optimizer(model)

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler | None:
        if not self.args.length_buckets:
            return super()._get_train_sampler(train_dataset)
        sampler = LengthBucketSampler(
            self.train_dataset["length"][:],  # `train_dataset` has lost the column by now: no forward takes it
            batch_size=self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
        )
        self.add_callback(_SetSamplerEpoch(sampler))
        return sampler


class _SetSamplerEpoch(TrainerCallback):
    """Tells the sampler its epoch: on resume with several processes accelerate's own call does not reach it."""

    def __init__(self, sampler: LengthBucketSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch + 1e-6))


def _is_head(parameter_name: str) -> bool:
    return not parameter_name.removeprefix("module.").startswith("backbone.")

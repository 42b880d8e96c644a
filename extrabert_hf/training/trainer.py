"""The HF Trainer, with a learning rate of their own for heads and poolings, and batches of like length."""

import copy
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from extrabert_hf.data.collators import EXTRA_COLUMNS
from extrabert_hf.data.samplers import LengthBucketSampler, TokenBudgetBatchSampler
from extrabert_hf.errors import InputError
from extrabert_hf.sharing.hub import claim_repository, hub_errors_in_one_line, push_folder
from extrabert_hf.sharing.model_card import HubArguments, check_templates
from extrabert_hf.sharing.repository_files import default_name
from extrabert_hf.training.callbacks import SamplerOfEpochs, _SetSamplerEpoch

COMPLETE_FILE = "complete"
"""Stands in a checkpoint that was written to its end: one that a kill cut short has none."""


class ExtraBertTrainer(Trainer):
    """
    A [`~transformers.Trainer`] for the models of this package.

    Args:
        args ([`ExtraBertTrainingArguments`]):
            As for the `Trainer`, with `head_learning_rate` and `length_buckets`.
        train_dataset (`Dataset`):
            With a column `length` (see [`tokenize_dataset`]) for `length_buckets` and `max_tokens_per_batch`.
    """

    def __init__(self, **kwargs: Any) -> None:
        args = copy.copy(kwargs.pop("args"))
        args.remove_unused_columns = False  # the collator takes what it needs
        super().__init__(args=args, **kwargs)
        plain_model(self.model).unpad = self.args.unpad

    def why_padded(self) -> str | None:
        """Says why the encoder is trained with padding, in a few words; `None` where it is without."""
        return "for torch.compile" if self.args.torch_compile else plain_model(self.model).why_padded()

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """In training, the loss that [`ObjectiveArguments`] describe; else the model's own."""
        objective = self.args.objective
        if objective is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        rows = dict(inputs)
        extra = {name: rows.pop(name, None) for name in ("labels", *EXTRA_COLUMNS)}
        if objective.r_drop:  # each row twice, in one pass
            rows = {name: torch.cat([its, its]) if torch.is_tensor(its) else its for name, its in rows.items()}
        return objective(model(**rows).logits, *extra.values())

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Groups parameters by weight decay and by learning rate: that of heads and poolings, that of the encoder."""
        model = self.model if model is None else model
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(model))
            of_encoder = {id(parameter) for parameter in encoder_parameters(model)}
            rate = self.args.learning_rate
            head_rate = rate if self.args.head_learning_rate is None else self.args.head_learning_rate
            groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    its_rate = rate if id(parameter) in of_encoder else head_rate
                    its_decay = self.args.weight_decay if name in decayed else 0.0
                    groups.setdefault((its_rate, its_decay), []).append(parameter)
            optimizer_class, kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = optimizer_class(
                [{"params": its, "lr": rate, "weight_decay": decay} for (rate, decay), its in groups.items()],
                **kwargs,
            )
        return super().create_optimizer(model)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if isinstance(self.model, PeftModel):  # of which transformers saves the adapter only
            self.model.get_base_model().config.save_pretrained(output_dir or self.args.output_dir)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each process has written its part
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            (folder / COMPLETE_FILE).touch()

    def get_train_dataloader(self) -> DataLoader:
        """As the `Trainer`'s, or with batches of at most `max_tokens_per_batch` tokens."""
        if self.args.max_tokens_per_batch is None:
            return super().get_train_dataloader()
        rows = self.train_dataset
        sentences = 2 if isinstance(rows[0]["input_ids"][0], list) else 1
        passes = 2 if self.args.r_drop else 1
        step = self.data_collator.pad_to_multiple_of or 1
        sampler = TokenBudgetBatchSampler(
            [passes * sentences * step * -(-length // step) for length in rows["length"][:]],
            self.args.max_tokens_per_batch,
            self.data_seed,
            multiple_of=self.args.world_size * self.args.gradient_accumulation_steps,
        )
        loader = DataLoader(
            rows,
            batch_sampler=self._follow_epochs(sampler),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        even_batches = self.accelerator.even_batches
        self.accelerator.even_batches = False  # they are, by `multiple_of`
        try:
            return self.accelerator.prepare(loader)
        finally:
            self.accelerator.even_batches = even_batches

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler | None:
        if not self.args.length_buckets:
            return super()._get_train_sampler(train_dataset)
        lengths = self.train_dataset["length"][:]
        return self._follow_epochs(LengthBucketSampler(lengths, self.global_batch_size, self.data_seed))

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Sees before training that the token may push, and that the repository is free."""
        if self.is_world_process_zero():
            check_templates()
            name = self.args.hub_model_id or default_name(Path(self.args.output_dir))
            with hub_errors_in_one_line(name):
                self.hub_model_id = claim_repository(name, self._sharing(private))

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
    ) -> str | None:
        """
        Saves the model and pushes the output folder, in one commit: see [`push_folder`].

        Args:
            commit_message (`str`, *optional*):
                Of the commit.
            blocking (`bool`, *optional*):
                Must be `True`.
            token (`str`, *optional*):
                Must be `None`: it is that of the environment.
            revision (`str`, *optional*):
                Must be `None`: the branch is `main`.
            private (`bool`, *optional*):
                Whether only the owner sees a new repository; `None` is `hub_private_repo`.

        Returns:
            `str`, *optional*: the repository's id; `None` on all processes but the first.

        Raises:
            [`InputError`]: for arguments that a push does not take, and as [`push_folder`].
        """
        if not blocking or token is not None or revision is not None:
            raise InputError("`push_to_hub` takes a `commit_message` and `private`; the token is HF_TOKEN's.")
        if not isinstance(self.model, PeftModel):  # of which the output folder holds the merged weights
            self.save_model(_internal_call=True)
        return self.push_output_dir(commit_message, private) if self.is_world_process_zero() else None

    def push_output_dir(self, commit_message: str | None = "End of training", private: bool | None = None) -> str:
        """Pushes what the output folder holds, on the first process; as [`push_to_hub`]."""
        return push_folder(
            self.args.output_dir,
            self.hub_model_id or self.args.hub_model_id,
            sharing=self._sharing(private),
            message=commit_message or "Upload of extrabert_hf",
            claimed=self.hub_model_id is not None,
        )

    def _sharing(self, private: bool | None) -> HubArguments:
        told = {field.name: getattr(self.args, field.name) for field in fields(HubArguments)}
        return HubArguments(**told if private is None else told | {"hub_private_repo": private})

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """As the `Trainer`'s, but none once all steps are made: a run resumed at its end would make one more."""
        if self.state.global_step >= self.state.max_steps:
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    @property
    def global_batch_size(self) -> int | None:
        """Rows of an optimizer step: per device, times processes, times accumulation steps; `None` if tokens count."""
        if self.args.max_tokens_per_batch is not None:
            return None
        return self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps

    @property
    def data_seed(self) -> int:
        """Seed of the order of rows."""
        return self.args.seed if self.args.data_seed is None else self.args.data_seed

    def _follow_epochs(self, sampler: SamplerOfEpochs) -> SamplerOfEpochs:
        self.add_callback(_SetSamplerEpoch(sampler))
        return sampler


def plain_model(model: torch.nn.Module) -> torch.nn.Module:
    """Gives the model of this package, which a `PeftModel` may wrap."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def encoder_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """
    Gives the parameters of the encoder, which all tasks share; the rest are those of poolings and heads.

    Args:
        model (`torch.nn.Module`):
            One of this package's, or a `PeftModel` around it, not wrapped for several processes.
    """
    return list(plain_model(model).backbone.parameters())

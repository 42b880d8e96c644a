"""The `Trainer` with a separate learning rate for heads and poolings, and batches of sentences of similar length."""

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import (
    DataCollator,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, TrainOutput, has_length

from extrabert_hf.data.collators import EXTRA_COLUMNS
from extrabert_hf.data.samplers import LengthBucketSampler, TokenBudgetBatchSampler
from extrabert_hf.errors import InputError
from extrabert_hf.files import atomic_folder, atomic_path, recorded_folder
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.training.callbacks import SetSamplerEpoch, StopAtNaN
from extrabert_hf.training.command_parser import refused_in_one_line
from extrabert_hf.training.dropout import fast_dropout
from extrabert_hf.training.hub_trainer import HubTrainer
from extrabert_hf.training.objectives import objective_from
from extrabert_hf.training.run_record import RunRecord
from extrabert_hf.training.setup import prepare_process
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


class ExtraBertTrainer(HubTrainer):
    """
    A [`~transformers.Trainer`] for the models of this package.

    It takes the arguments of the `Trainer`, in the same order. `save_model` never pushes: [`push_to_hub`] does.

    Args:
        args (`TrainingArguments`, *optional*):
            The trainer works with a copy that [`prepare_process`] makes. A plain `TrainingArguments` gets the defaults
            of the fields that [`ExtraBertTrainingArguments`] adds, such as `head_learning_rate`; `length_buckets` is
            `False` if `train_dataset` has no column `length`. `None` is `ExtraBertTrainingArguments("tmp_trainer")`,
            without evaluation if there is no `eval_dataset`.
        train_dataset (`Dataset`, *optional*):
            `length_buckets` and `max_tokens_per_batch` need a column `length` (see [`tokenize_dataset`]).

    Raises:
        [`InputError`]: if the column `length` is missing, in [`get_train_dataloader`].
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel | None = None,
        args: TrainingArguments | None = None,
        data_collator: DataCollator | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        model_init: Callable[..., PreTrainedModel] | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        args = args or default_arguments(eval_dataset)
        own_args = copy.copy(prepare_process(args))
        if not isinstance(args, ExtraBertTrainingArguments) and not has_lengths(train_dataset):
            own_args.length_buckets = False  # plain arguments do not ask for it
        own_args.remove_unused_columns = False  # the collator takes the columns that it needs
        with refused_in_one_line():
            super().__init__(
                model,
                own_args,
                data_collator,
                train_dataset,
                eval_dataset,
                processing_class,
                model_init,
                compute_loss_func,
                compute_metrics,
                callbacks,
                optimizers,
                optimizer_cls_and_kwargs,
                preprocess_logits_for_metrics,
            )
        self.args.push_to_hub = False  # the repository is claimed; `save_model` would push before there are scores
        self.objective = objective_from(self.args)
        self.record: RunRecord | None = None  # written to each checkpoint
        self.add_callback(SetSamplerEpoch())
        self.add_callback(StopAtNaN())
        plain_model(self.model).unpad = self.may_unpad

    def call_model_init(self, trial: Any = None) -> PreTrainedModel:
        """Builds a model with `model_init`, which gets the `unpad` of the arguments."""
        model = super().call_model_init(trial)
        plain_model(model).unpad = self.may_unpad
        return model

    @property
    def may_unpad(self) -> bool:
        """Whether sentences may be encoded without padding; NEFTune scales its noise by the length of a sentence."""
        return self.args.unpad and self.args.neftune_noise_alpha is None

    def why_padded(self) -> str | None:
        """Returns in a few words why the encoder is trained with padding; `None` if it is trained without padding."""
        if self.args.torch_compile or self.args.neftune_noise_alpha is not None:
            return "for torch.compile" if self.args.torch_compile else "for NEFTune"
        with self.accelerator.autocast():
            return plain_model(self.model).why_padded(training=True)

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        is_eager_cpu = self.args.device.type == "cpu" and not self.args.torch_compile
        with fast_dropout(self.model) if is_eager_cpu else nullcontext():
            return super()._inner_training_loop(*args, **kwargs)

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """Computes the [`Objective`] of the arguments in training, and otherwise the model's own loss."""
        if not plain_model(self.model).config.return_dict:
            inputs = {**inputs, "return_dict": True}  # the `Trainer` takes the first entry of a tuple as the loss
        if self.objective is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        rows = dict(inputs)
        columns = {name: rows.pop(name) for name in ("labels", *EXTRA_COLUMNS) if name in rows}
        if self.objective.r_drop:  # each row twice, in one forward pass
            rows = {
                name: torch.cat([values, values]) if torch.is_tensor(values) else values
                for name, values in rows.items()
            }
        output = model(**rows)
        loss = self.objective(output.logits, **columns)
        return (loss, output) if return_outputs else loss

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """As in the `Trainer`, which pads no pairs: for `include_for_metrics`, those of all batches get one length."""
        outputs = super().prediction_step(model, inputs, *args, **kwargs)
        ids = inputs.get("input_ids")
        if "inputs" in self.args.include_for_metrics and ids is not None and ids.dim() == 3:
            missing = (plain_model(self.model).config.max_positions or ids.shape[-1]) - ids.shape[-1]
            inputs["input_ids"] = torch.nn.functional.pad(ids, (0, max(missing, 0)), value=-100)  # (B, 2, positions)
        return outputs

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Creates the optimizer with groups of parameters by learning rate (encoder, or heads) and weight decay."""
        model = self.model if model is None else model
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(model))
            in_encoder = {id(parameter) for parameter in encoder_parameters(model)}
            encoder_rate = self.args.learning_rate
            head_rate = encoder_rate if self.args.head_learning_rate is None else self.args.head_learning_rate
            groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    rate = encoder_rate if id(parameter) in in_encoder else head_rate
                    decay = self.args.weight_decay if name in decayed else 0.0
                    groups.setdefault((rate, decay), []).append(parameter)
            if not groups:
                raise InputError("the model has no parameter to train: `requires_grad` is False for all.")
            optimizer_class, kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = optimizer_class(
                [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()],
                **kwargs,
            )
        return super().create_optimizer(model)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Creates the schedule; raises [`InputError`] if all steps and more would be warm-up."""
        warmup = self.args.get_warmup_steps(num_training_steps)
        if warmup > num_training_steps:
            raise InputError(
                f"`warmup_steps` must be at most the {num_training_steps} steps of the run, or a share below 1, "
                f"got {warmup}."
            )
        return super().create_scheduler(num_training_steps, optimizer)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        target = Path(output_dir or self.args.output_dir)
        is_checkpoint = target.name.startswith(PREFIX_CHECKPOINT_DIR)  # whole once it has its last file
        with nullcontext(target) if is_checkpoint else atomic_folder(target) as folder:
            super()._save(str(folder), state_dict)
            if isinstance(self.model, PeftModel):  # transformers saves only the adapter
                self.model.get_base_model().config.save_pretrained(folder)

    def save_state(self) -> None:
        """Saves the state with the log history, in the first process."""
        if self.args.should_save:
            with atomic_path(RunFolder(Path(self.args.output_dir)).trainer_state_file) as path:
                self.state.save_to_json(str(path))

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Predicts as in the `Trainer`; during training, a model whose weights are not finite is an error before."""
        if self.is_in_train:
            check_finite(self.model, self.state.global_step)
        return super().evaluation_loop(*args, **kwargs)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        check_finite(self.model, self.state.global_step)
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with recorded_folder(folder):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # every process has written its files
            if self.args.should_save:
                if self.record is not None:
                    self.record.write(folder)
                (folder / RunFolder.COMPLETE).touch()

    def get_train_dataloader(self) -> DataLoader:
        """Returns the `Trainer`'s loader, or one with batches of at most `max_tokens_per_batch` tokens."""
        if self.args.max_tokens_per_batch is None:
            loader = super().get_train_dataloader()
            if has_length(loader) and len(loader) == 0:
                batch = self.args.train_batch_size * self.args.world_size
                raise InputError(
                    f"the {len(self.train_dataset):,} train rows make no batch of {batch:,}: use a smaller "
                    "--per_device_train_batch_size, or --dataloader_drop_last false."
                )
            return loader
        rows = self.train_dataset
        sentences = 2 if isinstance(rows[0]["input_ids"][0], list) else 1
        passes = 2 if self.args.r_drop else 1
        step = self.data_collator.pad_to_multiple_of or 1
        sampler = TokenBudgetBatchSampler(
            [passes * sentences * step * -(-length // step) for length in self._lengths("max_tokens_per_batch")],
            # `auto_find_batch_size` reduces the number of rows
            self.args.max_tokens_per_batch * self._train_batch_size // self.args.train_batch_size,
            self.data_seed,
            multiple_of=self.args.world_size * self.args.gradient_accumulation_steps,
        )
        loader = DataLoader(
            rows,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        even_batches = self.accelerator.even_batches
        self.accelerator.even_batches = False  # `multiple_of` gives every process the same number of batches
        try:
            return self.accelerator.prepare(loader)
        finally:
            self.accelerator.even_batches = even_batches

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler | None:
        if not self.args.length_buckets:
            return super()._get_train_sampler(train_dataset)
        return LengthBucketSampler(self._lengths("length_buckets"), self.global_batch_size, self.data_seed)

    def _lengths(self, argument: str) -> list[int]:
        if not has_lengths(self.train_dataset):
            raise InputError(
                f"`{argument}` needs a column `length` in `train_dataset`, which tokenize_dataset adds, "
                f"got the columns {getattr(self.train_dataset, 'column_names', [])}."
            )
        return self.train_dataset["length"][:]

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """Returns no batches once all steps are done: after a resume the `Trainer` would train one more step."""
        if self.state.global_step >= self.state.max_steps:
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    @property
    def global_batch_size(self) -> int | None:
        """
        Rows of an optimizer step over all devices and accumulation steps; `None` with `max_tokens_per_batch`.

        `auto_find_batch_size` reduces it after an out-of-memory error.
        """
        if self.args.max_tokens_per_batch is not None:
            return None
        return self._train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps

    @property
    def data_seed(self) -> int:
        """Seed for the order of the training rows."""
        return self.args.seed if self.args.data_seed is None else self.args.data_seed


def check_finite(model: torch.nn.Module, step: int) -> None:
    """Raises [`InputError`] if a weight is infinite or not a number, so that such a model is not saved."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise InputError(
                f"training has failed: the weights of {name} are not finite at step {step}, and are not saved. Use a "
                "smaller --learning_rate or --head_learning_rate, or another precision."
            )


def default_arguments(eval_dataset: Any) -> ExtraBertTrainingArguments:
    """Returns the arguments of a trainer without `args`: without evaluation if there is no `eval_dataset`."""
    if eval_dataset is not None:
        return ExtraBertTrainingArguments("tmp_trainer")
    return ExtraBertTrainingArguments("tmp_trainer", eval_strategy="no", load_best_model_at_end=False)


def has_lengths(dataset: Any) -> bool:
    """Returns whether a data set, of one task or of several, has the lengths of the rows in tokens."""
    return "length" in (getattr(dataset, "column_names", None) or ()) or hasattr(dataset, "lengths")


def plain_model(model: torch.nn.Module) -> torch.nn.Module:
    """Returns the model of this package; unwraps a `PeftModel`."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def encoder_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """
    Returns the parameters of the encoder, which all tasks share. All other parameters belong to poolings and heads.

    Args:
        model (`torch.nn.Module`):
            A model of this package, or a `PeftModel` around one, not wrapped for several processes.
    """
    return list(plain_model(model).backbone.parameters())

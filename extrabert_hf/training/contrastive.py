"""Contrastive pre-training of an encoder on plain text: the two sentences of a pair get similar vectors."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import DataCollator, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.trainer_utils import IntervalStrategy

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import check_length, longest_sentence, tokenize_dataset
from extrabert_hf.errors import InputError, one_line
from extrabert_hf.files import atomic_folder
from extrabert_hf.machine import keep_freed_memory
from extrabert_hf.models import ExtraBertConfig
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import load_config
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.pretrained.remote_code import pickles_in_one_line
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import check_room, hold_run
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.argument_checks import check_number
from extrabert_hf.training.callbacks import BeforeFirstStep
from extrabert_hf.training.checkpoints import (
    check_same_model,
    check_same_run,
    find_checkpoint,
    keep_record,
    with_saved_precision,
)
from extrabert_hf.training.run_output import one_bar
from extrabert_hf.training.run_record import RunRecord
from extrabert_hf.training.setup import prepare_process
from extrabert_hf.training.trainer import ExtraBertTrainer, check_finite
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

logger = logging.getLogger(__name__)

SENTENCE_END = re.compile(r"[.!?][\"')\]\u201d\u2019\xbb]? ")
"""The end of a sentence: a full stop, perhaps a closing quote, and a space. No lower-case letter may follow."""


@dataclass
class ContrastiveArguments:
    """The text, and how pairs of sentences are made from it."""

    _argument_group_name: ClassVar[str] = "contrastive"

    text: str = field(
        metadata={"help": "Text file in UTF-8. A blank line ends a passage; a full stop ends a sentence."}
    )
    model_name_or_path: str = field(
        default="google-bert/bert-base-uncased",
        metadata={"help": "Encoder: a Hub id, a folder, or 'minilm' or 'mpnet' (from PyPI)."},
    )
    positives: Literal["adjacent", "dropout"] = field(
        default="adjacent",
        metadata={
            "help": "Pairs of sentences with similar vectors. 'adjacent': a sentence and the next sentence of the "
            "passage. 'dropout': a sentence and itself, with different dropout (SimCSE)."
        },
    )
    temperature: float = field(default=0.05, metadata={"help": "Temperature by which cosines are divided."})
    max_length: int = field(default=64, metadata={"help": "Maximum number of tokens of a sentence."})

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, "(0, inf)")
        if self.max_length < 3:
            raise InputError(f"`max_length` must be 3 or more, got {self.max_length}.")
        if self.positives not in ("adjacent", "dropout"):
            raise InputError(f"`positives` must be 'adjacent' or 'dropout', got {self.positives!r}.")


def info_nce(
    first: torch.Tensor, second: torch.Tensor, temperature: float, same: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Computes the cross-entropy of finding a sentence's partner among all partners of the batch, in both directions.

    The loss of van den Oord et al. (2018), https://arxiv.org/abs/1807.03748, with in-batch negatives, as in SimCSE,
    Gao et al. (2021), https://arxiv.org/abs/2104.08821, Equation 1.

    Args:
        first (`torch.Tensor` of shape `(B, d)`):
            Vectors of sentences.
        second (`torch.Tensor` of shape `(B, d)`):
            Vectors of the partners of these sentences.
        temperature (`float`):
            Temperature by which cosines are divided, above 0.
        same (`torch.Tensor` of shape `(B, B)`, *optional*):
            Whether rows `i` and `j` have a sentence in common. Such a row is not a negative example.

    Returns:
        `torch.Tensor` of shape `()`.
    """
    cosines = F.normalize(first.float(), dim=-1) @ F.normalize(second.float(), dim=-1).T / temperature  # (B, B)
    partners = torch.arange(len(cosines), device=cosines.device)
    if same is not None:
        cosines = cosines.masked_fill(same & (partners.unsqueeze(1) != partners), -torch.inf)
    return (F.cross_entropy(cosines, partners) + F.cross_entropy(cosines.T, partners)) / 2


class ContrastiveTrainer(ExtraBertTrainer):
    """
    An [`ExtraBertTrainer`] with the loss [`info_nce`] over the pairs of a process's batch.

    Args:
        temperature (`float`):
            Temperature of the loss, above 0.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: ExtraBertTrainingArguments,
        data_collator: DataCollator,
        train_dataset: Dataset,
        eval_dataset: None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        *,
        temperature: float,
    ) -> None:
        super().__init__(model, args, data_collator, train_dataset, eval_dataset, processing_class)
        self.temperature = temperature

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """Computes [`info_nce`] of the vectors of the pairs."""
        output = model(**inputs, output_embeddings=True)
        first, second = output.embeddings.unbind(dim=1)
        loss = info_nce(first, second, self.temperature, same_sentences(inputs["input_ids"]))
        return (loss, output) if return_outputs else loss


def same_sentences(input_ids: torch.Tensor) -> torch.Tensor:
    """
    Finds pairs of a batch with a sentence in common, so that no sentence is a negative example for itself.

    Args:
        input_ids (`torch.Tensor` of shape `(B, 2, T)`):
            Token ids of pairs.

    Returns:
        `torch.Tensor` of shape `(B, B)`: whether pairs `i` and `j` have the same first or the same second sentence, or
        the first sentence of `i` is the second of `j`.
    """
    first, second = input_ids.unbind(dim=1)
    kinds = ((first, second), (first, first), (second, second))
    return torch.stack([(a.unsqueeze(1) == b).all(dim=-1) for a, b in kinds]).any(dim=0)


NOT_FOR_TEXT = (
    *("label_balance", "r_drop", "teachers", "distillation", "distillation_temperature", "calibrate"),
    *("head_learning_rate", "label_smoothing_factor", "early_stopping_patience", "metric_for_best_model"),
    *("eval_strategy", "eval_steps", "per_device_eval_batch_size", "load_best_model_at_end"),
    *("restore_callback_states_from_checkpoint", "push_to_hub", "hub_private_repo", "hub_model_id", "hub_strategy"),
    *("hub_update", "hub_license", "hub_language"),
)
"""Arguments of the trainer that have no use without labels, dev rows or a head: `--help` does not show them, and
[`pretrain`] refuses them."""


def pretrain(arguments: ContrastiveArguments, training: ExtraBertTrainingArguments) -> Path:
    """
    Trains an encoder on a text and saves it with its tokenizer in `training.output_dir`.

    Args:
        arguments ([`ContrastiveArguments`]):
            The text, the pairs and the encoder.
        training ([`ExtraBertTrainingArguments`]):
            The arguments of the trainer.

    Returns:
        `Path`: the folder, a value for `--model_name_or_path` of `extrabert train`.

    Raises:
        [`InputError`]: for a value of [`NOT_FOR_TEXT`] that `extrabert pretrain` does not set, for a text with
            fewer than two pairs of sentences, or an encoder that cannot be loaded.
    """
    usual = ExtraBertTrainingArguments(training.output_dir, eval_strategy="no", load_best_model_at_end=False)
    if training.eval_strategy != usual.eval_strategy:
        got = IntervalStrategy(training.eval_strategy).value
        raise InputError(f"`eval_strategy` must be 'no', because a text has no dev rows, got {got!r}.")
    for name in NOT_FOR_TEXT:
        if getattr(training, name) != getattr(usual, name):
            raise InputError(
                f"`{name}` can't be used here: a text has no labels and no dev rows; an encoder has no head and no "
                f"scores. Leave out --{name}."
            )
    keep_freed_memory()
    with hold_run("output_dir", Path(training.output_dir)):
        return _pretrain(arguments, training)


def _pretrain(arguments: ContrastiveArguments, training: ExtraBertTrainingArguments) -> Path:
    checkpoint = find_checkpoint(training)
    training = prepare_process(with_saved_precision(training, checkpoint))
    own = {"positives": arguments.positives, "temperature": arguments.temperature, "max_length": arguments.max_length}
    record = RunRecord.of_training(training, own)
    if checkpoint is not None:
        check_same_run(record, checkpoint)
    if training.process_index == 0:
        check_room("output_dir", Path(training.output_dir))
    set_seed(training.seed)
    pairs = list(pairs_of_text(Path(arguments.text), arguments.positives))
    if len(pairs) < 2:
        raise InputError(f"`text` must have 2 pairs of sentences or more, got {len(pairs)} in {arguments.text}.")
    logger.info("%s pairs of sentences in %s", f"{len(pairs):,}", arguments.text)
    if isinstance(load_config(resolve_model_name(arguments.model_name_or_path)), ExtraBertConfig):
        raise InputError(
            f"`model_name_or_path` must be an encoder, got a trained model in {arguments.model_name_or_path}."
        )
    model, tokenizer = build_model(arguments.model_name_or_path, PAPER_TASKS["sts"], pooling="mean")
    if checkpoint is not None:
        check_same_model(model, checkpoint)
    own_length = tokenizer.model_max_length
    tokenizer.model_max_length = min(longest_sentence(tokenizer, model), arguments.max_length)
    check_length(tokenizer, model)
    first, second = ([pair[index] for pair in pairs] for index in (0, 1))
    trainer = ContrastiveTrainer(
        model,
        training,
        DataCollatorForSentences(tokenizer.pad_token_id),
        tokenize_dataset(Dataset.from_dict({"sentence1": first, "sentence2": second}), tokenizer),
        processing_class=tokenizer,
        temperature=arguments.temperature,
    )
    keep_record(trainer, record, checkpoint)
    folder = Path(training.output_dir)
    if checkpoint is None and trainer.is_world_process_zero():
        trainer.add_callback(BeforeFirstStep(RunFolder(folder).clear_results))
    with pickles_in_one_line("`resume_from_checkpoint`"), one_bar(trainer):
        trainer.train(resume_from_checkpoint=checkpoint)
    check_finite(model, trainer.state.global_step)
    if trainer.is_world_process_zero():
        model.backbone.set_attn_implementation("sdpa")  # other programs do not have the attention for unpadded batches
        tokenizer.model_max_length = own_length  # fine-tuning may use longer sentences
        with atomic_folder(folder) as temporary:
            model.backbone.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    return folder


def pairs_of_text(path: Path, positives: str) -> Iterator[tuple[str, str]]:
    """Yields each sentence of a text with its partner."""
    for passage in passages_of(path):
        sentences = list(sentences_of(" ".join(passage)))
        partners = sentences if positives == "dropout" else sentences[1:]
        yield from zip(sentences, partners, strict=False)  # the last sentence of a passage has no next sentence


def sentences_of(passage: str) -> Iterator[str]:
    """
    Yields the sentences of a passage.

    Example:
        >>> list(sentences_of("It opens at 9 a.m.  tomorrow. “Is it?” Élan says so."))
        ['It opens at 9 a.m. tomorrow.', '“Is it?”', 'Élan says so.']
    """
    passage = " ".join(passage.split())
    start = 0
    for end in SENTENCE_END.finditer(passage):
        if not passage[end.end()].islower():
            yield passage[start : end.end() - 1]
            start = end.end()
    yield passage[start:]


def passages_of(path: Path) -> Iterator[list[str]]:
    """Yields the lines of each passage of a text. Blank lines separate passages."""
    passage: list[str] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    passage.append(line.strip())
                elif passage:
                    yield passage
                    passage = []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`text` must be a text file in UTF-8 that can be read, got {path}: {one_line(error)}."
        ) from error
    if passage:
        yield passage

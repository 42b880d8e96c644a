"""A model's logits for any number of sentences or pairs: each distinct sentence encoded once, sorted by length."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.evaluation.significance import score
from extrabert_hf.models import ExtraBertPreTrainedModel
from extrabert_hf.tasks import TaskSpec


@torch.inference_mode()
def predict_logits(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences1: Sequence[str],
    sentences2: Sequence[str] | None = None,
    *,
    batch_size: int = 64,
    bf16: bool = False,
    progress: bool = False,
) -> np.ndarray:
    """
    Scores sentences or pairs.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            Put into evaluation mode for the call.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        sentences1 (`Sequence[str]`):
            `N` sentences, or the first ones of `N` pairs. The embeddings of all distinct sentences are held in memory:
            give a large file in parts.
        sentences2 (`Sequence[str]`, *optional*):
            The second ones of `N` pairs.
        batch_size (`int`, defaults to 64):
            Sentences encoded together.
        bf16 (`bool`, defaults to `False`):
            Whether the encoder runs under bfloat16 autocast; else in the weights' own precision.
        progress (`bool`, defaults to `False`):
            Whether to show a progress bar.

    Returns:
        `np.ndarray` of shape `(N, num_labels)`, float32: the rows' logits in their order.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` must be 1 or more, got {batch_size}.")
    was_training = model.training
    model.eval()
    columns = [list(column) for column in (sentences1, sentences2) if column is not None]
    position = {
        sentence: index for index, sentence in enumerate(dict.fromkeys(s for column in columns for s in column))
    }
    token_ids = tokenize_sentences(tokenizer, position)
    by_length = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]), reverse=True)
    pad = DataCollatorForSentences(tokenizer.pad_token_id).pad
    embeddings: torch.Tensor | None = None  # (distinct, d), made when the first batch tells d and the type
    for start in tqdm(
        range(0, len(by_length), batch_size), desc="encoding", unit="batch", disable=not progress, leave=False
    ):
        chosen = by_length[start : start + batch_size]
        batch = {name: tensor.to(model.device) for name, tensor in pad([token_ids[i] for i in chosen]).items()}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            vectors, _ = model.embed(**batch)
        if embeddings is None:
            embeddings = vectors.new_empty(len(by_length), vectors.shape[-1], dtype=model.dtype)
        embeddings[chosen] = vectors.to(model.dtype)
    rows = torch.tensor([[position[s] for s in row] for row in zip(*columns, strict=True)])  # (N, 1) or (N, 2)
    logits = [model.head(embeddings[part].squeeze(1)) for part in rows.split(8192)]
    model.train(was_training)
    return torch.cat(logits).float().cpu().numpy()


def score_split(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: TaskSpec,
    split: Dataset,
    *,
    train_labels: np.ndarray | None = None,
    batch_size: int = 64,
    progress: bool = True,
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """
    Predicts a canonical split and, where it is labelled, scores it.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            As for [`predict_logits`], with `tokenizer`, `batch_size` and `progress`.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        task ([`TaskSpec`]):
            What the split holds.
        split (`Dataset`):
            With `sentence1`, for pairs `sentence2`, and `label` where it is labelled.
        train_labels (`np.ndarray`, *optional*):
            Labels of the training rows, for the majority baseline.
        batch_size (`int`, defaults to 64):
            Sentences encoded together.
        progress (`bool`, defaults to `True`):
            Whether to show a progress bar.

    Returns:
        `tuple[np.ndarray, dict | None]`: the `(N,)` class ids or scores, and the scores as [`score`] gives them.
    """
    logits = predict_logits(
        model,
        tokenizer,
        split["sentence1"][:],
        split["sentence2"][:] if task.is_pair else None,
        batch_size=batch_size,
        progress=progress,
    )
    predictions = predictions_from_logits(task, logits)
    if "label" not in split.column_names:
        return predictions, None
    return predictions, score(task, predictions, np.asarray(split["label"][:]), train_labels=train_labels)

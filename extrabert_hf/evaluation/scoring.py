"""A model's logits for any number of sentences or pairs: what is the same is encoded once, sorted by length."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.models import ExtraBertPreTrainedModel


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
    columns = [list(column) for column in (sentences1, sentences2) if column is not None]
    position = {s: index for index, s in enumerate(dict.fromkeys(s for column in columns for s in column))}
    if not position:
        return np.empty((0, model.config.num_labels), dtype=np.float32)
    token_ids = tokenize_sentences(tokenizer, position)
    rows = [tuple(position[s] for s in row) for row in zip(*columns, strict=True)]
    # what has a vector: a sentence, or a pair that is encoded jointly
    encoded = list(dict.fromkeys(rows)) if model.head.is_joint else [(index,) for index in range(len(token_ids))]
    lengths = [sum(len(token_ids[index]) for index in its) for its in encoded]
    by_length = sorted(range(len(encoded)), key=lengths.__getitem__, reverse=True)
    pad = DataCollatorForSentences(tokenizer.pad_token_id).pad
    embeddings: torch.Tensor | None = None  # (encoded, d), made when the first batch tells d and the type
    starts = range(0, len(by_length), batch_size)
    with in_evaluation_mode(model):
        for start in tqdm(starts, desc="encoding", unit="batch", disable=not progress, leave=False):
            chosen = by_length[start : start + batch_size]
            batch = pad([token_ids[i] for index in chosen for i in encoded[index]])
            shape = (len(chosen), 2, -1) if model.head.is_joint else (len(chosen), -1)
            batch = {name: tensor.view(shape).to(model.device) for name, tensor in batch.items()}
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                vectors, _ = model.embed(**batch)
            if embeddings is None:
                embeddings = vectors.new_empty(len(by_length), vectors.shape[-1], dtype=model.dtype)
            embeddings[chosen] = vectors.to(model.dtype)
        if model.head.is_joint:
            place = {pair: index for index, pair in enumerate(encoded)}
            rows = [(place[row],) for row in rows]
        parts = torch.tensor(rows).split(8192)  # (N, 1) or (N, 2) in all
        logits = torch.cat([model.head(embeddings[part].squeeze(1)) for part in parts])
    return logits.float().cpu().numpy()


@contextmanager
def in_evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Turns dropout off for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)

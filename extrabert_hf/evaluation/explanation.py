"""Why a model answers what it does: how much each token counts in its sentence, each pair feature in the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedTokenizerBase

from extrabert_hf.errors import InputError
from extrabert_hf.models import ExtraBertForOneTask
from extrabert_hf.models.heads_extrabert import LinearSimilarityHead, ParaphraseHead
from extrabert_hf.tasks import TaskSpec


@dataclass(frozen=True)
class Explanation:
    """
    One answer and what it is made of.

    Args:
        answer (`str`):
            The class and its probability, or the score.
        tokens (`list[list[str]]`):
            The tokens of each sentence, special ones too.
        weights (`list[list[float]]`, *optional*):
            The weight of each token in its sentence's vector, 0 to 1, a sentence's sum is 1, that of a pair encoded
            jointly too; `None` for the encoder's own pooler, which has none.
        parts (`dict[str, float]`):
            What each pair feature, and the bias, adds to the logit of the second class over that of the first, or to a
            linear score, before it is cut off: the sum of all is that number. Empty for a head that is not linear in
            pair features.
        probabilities (`dict[str, float]`):
            Of each class, 0 to 1; empty for a score.
    """

    answer: str
    tokens: list[list[str]]
    weights: list[list[float]] | None
    parts: dict[str, float]
    probabilities: dict[str, float] = field(default_factory=dict)


@torch.inference_mode()
def explain(
    model: ExtraBertForOneTask, tokenizer: PreTrainedTokenizerBase, task: TaskSpec, sentences: Sequence[str]
) -> Explanation:
    """
    Explains the answer to one sentence or pair.

    Args:
        model ([`ExtraBertForOneTask`]):
            In evaluation mode.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        task ([`TaskSpec`]):
            Names the classes.
        sentences (`Sequence[str]`):
            One sentence, for a task of pairs two.

    Raises:
        [`InputError`]: if there are fewer or more sentences.
    """
    due = 2 if task.is_pair else 1
    if len(sentences) != due:
        raise InputError(f"`sentences` must be {due} for the task {task.name!r}, got {len(sentences)}.")
    batch = tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt").to(model.device)
    rows = [batch[name].unsqueeze(0) if task.is_pair else batch[name] for name in ("input_ids", "attention_mask")]
    output = model(*rows, output_embeddings=True, output_pooling_weights=True)
    vectors, logits = output.embeddings, output.logits[0]  # (1, 2, d) or (1, d), and (C,)
    weights = None if output.pooling_weights is None else output.pooling_weights.view(due, -1)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    tokens = [
        tokenizer.convert_ids_to_tokens(ids[:length])
        for ids, length in zip(batch["input_ids"].tolist(), lengths, strict=True)
    ]
    kept = None if weights is None else [row[:length] for row, length in zip(weights.tolist(), lengths, strict=True)]
    if model.head.is_joint:  # the second sentence's own first token is not read
        tokens[1], kept = tokens[1][1:], kept and [kept[0], kept[1][1:]]
    parts = _parts(model.head, vectors)
    if task.is_regression:
        low, high = task.label_range
        return Explanation(f"{logits.item():.2f} of {low:g} to {high:g}", tokens, kept, parts)
    probabilities = dict(zip(task.class_names, logits.softmax(dim=-1).tolist(), strict=True))
    best = max(probabilities, key=probabilities.__getitem__)
    return Explanation(f"{best}, {100 * probabilities[best]:.1f} %", tokens, kept, parts, probabilities)


def _parts(head: torch.nn.Module, vectors: torch.Tensor) -> dict[str, float]:
    """Splits `w . features + b` by feature; of several classes `w` is that of the second minus that of the first."""
    if isinstance(head, ParaphraseHead) and head.classifier.out_features == 2:
        vectors = head.feed_forward(vectors)
        weight = head.classifier.weight[1] - head.classifier.weight[0]
        bias = head.classifier.bias[1] - head.classifier.bias[0]
    elif isinstance(head, LinearSimilarityHead):
        weight, bias = head.classifier.weight[0], head.classifier.bias[0]
    else:
        return {}
    if head.is_joint or getattr(head, "bounds", "none") == "scale":  # of no vectors u and v; of a sigmoid
        return {}
    u, v = vectors.unbind(dim=1)  # (1, d) each
    widths = [1 if name == "cosine" else u.shape[-1] for name in head.features.names]
    products = (weight * head.features(u, v)[0]).split(widths)
    parts = {name: product.sum().item() for name, product in zip(head.features.names, products, strict=True)}
    return parts | {"bias": bias.item()}

"""An explanation as coloured words: in a terminal, and as an HTML page."""

import html
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
    if model.head.is_cross_encoder:  # the second sentence's own first token is not read
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
    if head.is_cross_encoder or getattr(head, "bounds", "none") == "scale":  # of no vectors u and v; of a sigmoid
        return {}
    u, v = vectors.unbind(dim=1)  # (1, d) each
    widths = [1 if name == "cosine" else u.shape[-1] for name in head.features.names]
    products = (weight * head.features(u, v)[0]).split(widths)
    parts = {name: product.sum().item() for name, product in zip(head.features.names, products, strict=True)}
    return parts | {"bias": bias.item()}


SHADES = (255, 195, 153, 117, 111, 75, 69, 33)
"""Backgrounds of a terminal's 256 colours, from white to blue."""

STYLE = """
.words { line-height: 2; margin: .6em 0 }
.words span { border-radius: 4px; padding: 2px 3px; margin: 0 1px }
.bars, .bars tr, .bars td { border: 0 !important }
.bars td { padding: 2px 12px 2px 0; line-height: 1.4 }
.bars td.number { text-align: right; font-variant-numeric: tabular-nums }
.bars i { display: inline-block; height: .8em; border-radius: 2px }
"""
"""What [`to_fragment`] needs on a page."""

NO_WEIGHTS = "The encoder's own pooler gives tokens no weights."
PARTS_CAPTION = "What each feature of the pair of vectors (u, v) adds to the second class's logit, or to the score"
WEIGHTS_CAPTION = (
    "Darker tokens weigh more in the vector of their sentence (or joint pair); point at one for its share."
)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{answer}</title>
<style>
body {{ font: 18px/2 system-ui, sans-serif; max-width: 50em; margin: 3em auto; padding: 0 1em; color: #1f2328 }}
small {{ color: #59636e }}
{style}</style>
<h1>{answer}</h1>
{fragment}
</html>
"""


def opacity(weight: float, strongest: float) -> float:
    """Gives how strong a word's colour is on a page, 0 to 0.7: squared, since most words weigh nearly the same."""
    return round(0.7 * (weight / strongest) ** 2, 2) if strongest else 0.0


def to_terminal(explanation: Explanation, *, colour: bool = True) -> str:
    """
    Writes an explanation as lines: the answer, each sentence with its tokens' weights, the parts of the pair features.

    Args:
        explanation ([`Explanation`]):
            What [`explain`] gives.
        colour (`bool`, defaults to `True`):
            Whether a token's background tells its weight; else the number stands behind it.
    """
    lines = [explanation.answer]
    for index, tokens in enumerate(explanation.tokens):
        if explanation.weights is None:
            lines.append(" ".join(tokens))
            continue
        weights, strongest = explanation.weights[index], max(explanation.weights[index])
        if colour:
            shades = [SHADES[round(weight / (strongest or 1) * (len(SHADES) - 1))] for weight in weights]
            words = [f"\x1b[30;48;5;{shade}m{token}\x1b[0m" for shade, token in zip(shades, tokens, strict=True)]
        else:
            words = [f"{token} {_share(weight)}" for token, weight in zip(tokens, weights, strict=True)]
        lines.append(" ".join(words) if colour else ", ".join(words))
    if explanation.weights is None:
        lines.append(NO_WEIGHTS)
    width = max(map(len, explanation.parts), default=0)
    lines += [f"  {name:<{width}} {value:+.3f}" for name, value in explanation.parts.items()]
    if explanation.parts:
        lines.append(f"  {'sum':<{width}} {sum(explanation.parts.values()):+.3f}")
    return "\n".join(lines)


def to_html(explanation: Explanation) -> str:
    """Writes an explanation as a page that needs nothing beside it."""
    return PAGE.format(answer=html.escape(explanation.answer), style=STYLE, fragment=to_fragment(explanation))


def to_fragment(explanation: Explanation) -> str:
    """Writes all but the answer as a part of a page: words, their weights as colours and titles, and bars."""
    sentences = []
    for index, tokens in enumerate(explanation.tokens):
        if explanation.weights is None:
            sentences.append(f'<p class="words">{html.escape(" ".join(tokens))}</p>')
            continue
        weights = explanation.weights[index]
        strongest = max(weights)
        words = [
            f'<span title="{_share(weight)}" style="background:rgb(9 105 218 / {opacity(weight, strongest)})">'
            f"{html.escape(token)}</span>"
            for token, weight in zip(tokens, weights, strict=True)
        ]
        sentences.append(f'<p class="words">{" ".join(words)}</p>')
    if explanation.weights is None:
        sentences.append(f"<p><small>{NO_WEIGHTS}</small></p>")
    else:
        sentences.append(f"<p><small>{WEIGHTS_CAPTION}</small></p>")
    bars = []
    if explanation.probabilities:
        bars.append("<p><small>Probability of each class</small></p>")
        bars.append(_bars(explanation.probabilities, "{:.3f}", "#0969da", largest=1.0))
    if explanation.parts:
        largest = max(map(abs, explanation.parts.values())) or 1.0
        total = sum(explanation.parts.values())
        bars.append(f"<p><small>{PARTS_CAPTION}</small></p>")
        bars.append(_bars(explanation.parts, "{:+.3f}", "#1a7f37", largest=largest, total=total))
    return "\n".join(sentences + bars)


def _bars(values: dict[str, float], form: str, colour: str, *, largest: float, total: float | None = None) -> str:
    rows = [
        f'<tr><td>{html.escape(name)}<td class="number">{form.format(value)}'
        f'<td><i style="width:{10 * abs(value) / largest:.1f}em;background:{colour if value > 0 else "#cf222e"}"></i>'
        for name, value in values.items()
    ]
    if total is not None:
        rows.append(f'<tr><td><b>sum</b><td class="number"><b>{form.format(total)}</b><td>')
    return f'<table class="bars">{"".join(rows)}</table>'


def _share(weight: float) -> str:
    return f"{weight:.3f}".removeprefix("0")

"""Explains one prediction: token weights and the contribution of each pair feature, as text and as HTML."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from extrabert_hf.errors import InputError, printable
from extrabert_hf.inference.predictor import Predictions, in_evaluation_mode
from extrabert_hf.models.heads_extrabert import LinearSimilarityHead, ParaphraseHead
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.terminal import in_columns

EXPLAINED = 40
"""Number of rows that [`explain_worst_rows`] explains."""


@dataclass(frozen=True)
class Explanation:
    """
    One prediction with the weights of its tokens and the contributions of its pair features.

    Args:
        prediction (`str`):
            The predicted class and its probability, or the predicted score.
        tokens (`list[list[str]]`):
            Tokens of each sentence, special tokens included.
        weights (`list[list[float]]`, *optional*):
            Weight of each token in the pooled vector, 0 to 1. The weights of a sentence sum to 1; for a cross-encoder,
            the weights of a pair sum to 1. `None` for the encoder's own pooler, which does not weight tokens.
        parts (`dict[str, float]`):
            Contribution of each pair feature, and of the bias. The sum is the logit of the second class minus the
            logit of the first class, or a linear score before clamping. Empty for a head that is not linear in pair
            features.
        probabilities (`dict[str, float]`):
            Probability of each class, 0 to 1; empty for a score.
    """

    prediction: str
    tokens: list[list[str]]
    weights: list[list[float]] | None
    parts: dict[str, float]
    probabilities: dict[str, float] = field(default_factory=dict)


def explain_worst_rows(trained: TrainedModel, predictions: Predictions) -> dict[int, Explanation]:
    """Explains the predictions with the largest errors, at most [`EXPLAINED`]; returns them by row index."""
    return {row: explain(trained, predictions.sentences[row]) for row in predictions.worst[:EXPLAINED]}


@torch.inference_mode()
def explain(trained: TrainedModel, sentences: Sequence[str]) -> Explanation:
    """
    Explains the prediction for one sentence or pair.

    Args:
        trained ([`TrainedModel`]):
            The model. It runs in evaluation mode; its mode is restored afterwards.
        sentences (`Sequence[str]`):
            One sentence, or two for a task of pairs.

    Raises:
        [`InputError`]: if the number of sentences is wrong.
    """
    model, tokenizer, task = trained.model, trained.tokenizer, trained.task
    count = len(task.sentence_columns)
    if len(sentences) != count:
        raise InputError(f"`sentences` must be {count} for the task {task.name!r}, got {len(sentences)}.")
    batch = tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt").to(model.device)
    inputs = [batch[name].unsqueeze(0) if task.is_pair else batch[name] for name in ("input_ids", "attention_mask")]
    with in_evaluation_mode(model):
        output = model(*inputs, output_embeddings=True, output_pooling_weights=True)
        vectors, logits = output.embeddings, output.logits[0]  # (1, 2, d) or (1, d), and (C,)
        parts = _parts(model.head, vectors)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    tokens = [
        tokenizer.convert_ids_to_tokens(ids[:length])
        for ids, length in zip(batch["input_ids"].tolist(), lengths, strict=True)
    ]
    weights = None
    if output.pooling_weights is not None:
        rows = output.pooling_weights.view(count, -1).tolist()
        weights = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    if model.head.is_cross_encoder:  # its input does not have the first token of the second sentence
        tokens[1] = tokens[1][1:]
        weights = weights and [weights[0], weights[1][1:]]
    if task.is_regression:
        low, high = task.label_range
        return Explanation(f"{logits.item():.2f} of {low:g} to {high:g}", tokens, weights, parts)
    probabilities = dict(zip(task.class_names, logits.softmax(dim=-1).tolist(), strict=True))
    best = max(probabilities, key=probabilities.__getitem__)
    return Explanation(f"{best}, {100 * probabilities[best]:.1f} %", tokens, weights, parts, probabilities)


def _parts(head: torch.nn.Module, vectors: torch.Tensor) -> dict[str, float]:
    """Splits `w . features + b` by feature; for two classes `w` is the second weight minus the first."""
    if isinstance(head, ParaphraseHead) and head.classifier.out_features == 2:
        vectors = head.feed_forward(vectors)
        weight = head.classifier.weight[1] - head.classifier.weight[0]
        bias = head.classifier.bias[1] - head.classifier.bias[0]
    elif isinstance(head, LinearSimilarityHead):
        weight, bias = head.classifier.weight[0], head.classifier.bias[0]
    else:
        return {}
    if head.is_cross_encoder or getattr(head, "bounds", "none") == "scale":  # no vectors u and v; a sigmoid
        return {}
    u, v = vectors.unbind(dim=1)  # (1, d) each
    widths = [1 if name == "cosine" else u.shape[-1] for name in head.features.names]
    products = (weight * head.features(u, v)[0]).split(widths)
    parts = {name: product.sum().item() for name, product in zip(head.features.names, products, strict=True)}
    return parts | {"bias": bias.item()}


SHADES = (255, 195, 153, 117, 111, 75, 69, 33)
"""Background colours of tokens in a terminal with 256 colours, from white to blue."""

COLOURS = """:root { color-scheme: light dark; --page: #fff; --text: #1f2328; --soft: #59636e; --line: #d0d7de; \
--link: #0550ae; --alert: #fff1f0; --good: #1a7f37; --bad: #cf222e }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #0d1117; --text: #e6edf3; --soft: #9198a1; --line: #3d444d; --link: #79b8ff; --alert: #2d1214; \
--good: #3fb950; --bad: #ff7b72 }
}
@media print { :root { color-scheme: light } }"""
"""CSS with the colours of a page, for both colour schemes of the system; a printed page is light."""

STYLE = """
.words { line-height: 2; margin: .6em 0; overflow-wrap: anywhere; print-color-adjust: exact; \
-webkit-print-color-adjust: exact }
.words span { border-radius: 4px; padding: 2px 3px; margin: 0 1px }
.bars, .bars tr, .bars td { border: 0 !important }
.bars td { padding: 2px 12px 2px 0; line-height: 1.4; overflow-wrap: anywhere }
.bars td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.bars i { display: inline-block; height: .8em; border-radius: 2px; width: calc(var(--share) * min(10em, 25vw)); \
print-color-adjust: exact; -webkit-print-color-adjust: exact }
"""
"""CSS of the HTML that [`to_fragment`] returns."""

NO_WEIGHTS = "The encoder's own pooler does not weight tokens."
MOST_CLASSES = 30
"""Maximum number of classes with a bar of their own: the most probable ones."""
PROBABILITIES_CAPTION = "Probability of each class"
PARTS_CAPTION = (
    "Contribution of each feature of the pair (u, v) to the difference of the logits (second class minus first "
    "class), or to the score"
)
WEIGHTS_CAPTION = (
    "A token with a stronger colour has a larger weight in the pooled vector. Point at a token to see its weight."
)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{prediction}</title>
<style>
{colours}
body {{ font: 18px/2 system-ui, sans-serif; max-width: 50em; margin: clamp(1em, 5vw, 3em) auto; padding: 0 1em; \
color: var(--text); background: var(--page) }}
h1 {{ line-height: 1.25; overflow-wrap: anywhere }}
small {{ display: block; line-height: 1.5; color: var(--soft) }}
{style}@media print {{ body {{ max-width: none; margin: 0; font-size: 11pt }} tr {{ break-inside: avoid }} }}
</style>
<main>
<h1>{prediction}</h1>
{fragment}
</main>
</html>
"""


def opacity(weight: float, largest: float) -> float:
    """Returns the opacity of a token's background in HTML, 0 to 0.7: squared, since most weights are similar."""
    return round(0.7 * (weight / largest) ** 2, 2) if largest else 0.0


def to_terminal(explanation: Explanation, *, colour: bool = True) -> str:
    """
    Formats an explanation as lines of text: prediction, tokens with their weights, contributions of the pair features.

    Args:
        explanation ([`Explanation`]):
            The explanation.
        colour (`bool`, defaults to `True`):
            Whether the background colour of a token shows the weight; otherwise a number after the token shows it.
    """
    lines = [printable(explanation.prediction)]
    for index, tokens in enumerate(explanation.tokens):
        shown = list(map(printable, tokens))
        if explanation.weights is None:
            lines.append(" ".join(shown))
            continue
        weights, largest = explanation.weights[index], max(explanation.weights[index])
        if colour:
            shades = [SHADES[round(weight / (largest or 1) * (len(SHADES) - 1))] for weight in weights]
            words = [f"\x1b[30;48;5;{shade}m{each}\x1b[0m" for shade, each in zip(shades, shown, strict=True)]
        else:
            words = [f"{each} {_weight_cell(weight)}" for each, weight in zip(shown, weights, strict=True)]
        lines.append(" ".join(words) if colour else ", ".join(words))
    if explanation.weights is None:
        lines.append(NO_WEIGHTS)
    parts = [(f"  {name}", f"{value:+.3f}") for name, value in explanation.parts.items()]
    if explanation.parts:
        parts.append(("  sum", f"{sum(explanation.parts.values()):+.3f}"))
    lines += in_columns(parts, right=[False, True])
    return "\n".join(lines)


def to_html(explanation: Explanation) -> str:
    """Formats an explanation as an HTML page without external resources."""
    prediction = html.escape(printable(explanation.prediction, 200))
    return PAGE.format(prediction=prediction, style=STYLE, colours=COLOURS, fragment=to_fragment(explanation))


def to_fragment(explanation: Explanation) -> str:
    """Formats an explanation, without the prediction, as a part of an HTML page that has the CSS [`STYLE`]."""
    sentences = []
    for index, tokens in enumerate(explanation.tokens):
        if explanation.weights is None:
            sentences.append(f'<p class="words" dir="auto">{html.escape(printable(" ".join(tokens)))}</p>')
            continue
        weights = explanation.weights[index]
        largest = max(weights)
        words = [
            f'<span title="{_weight_cell(weight)}" style="background:rgb(9 105 218 / {opacity(weight, largest)})">'
            f"{html.escape(printable(token))}</span>"
            for token, weight in zip(tokens, weights, strict=True)
        ]
        sentences.append(f'<p class="words" dir="auto">{" ".join(words)}</p>')
    sentences.append(f"<p><small>{NO_WEIGHTS if explanation.weights is None else WEIGHTS_CAPTION}</small></p>")
    bars = []
    if explanation.probabilities:
        bars.append(f"<p><small>{PROBABILITIES_CAPTION}</small></p>")
        shown = dict(sorted(explanation.probabilities.items(), key=lambda item: -item[1])[:MOST_CLASSES])
        of_others = len(explanation.probabilities) - len(shown)
        if of_others:
            shown[f"the other {of_others:,} classes"] = max(1 - sum(shown.values()), 0.0)
        else:
            shown = explanation.probabilities  # in the order of the classes
        bars.append(_bars(shown, "{:.3f}", "#0969da", largest=1.0))
    if explanation.parts:
        largest = max(map(abs, explanation.parts.values())) or 1.0
        total = sum(explanation.parts.values())
        bars.append(f"<p><small>{PARTS_CAPTION}</small></p>")
        bars.append(_bars(explanation.parts, "{:+.3f}", "#1a7f37", largest=largest, total=total))
    return "\n".join(sentences + bars)


def _bars(
    values: dict[str, float], number_format: str, colour: str, *, largest: float, total: float | None = None
) -> str:
    rows = [
        f'<tr><td>{html.escape(printable(name, 200))}<td class="number">{number_format.format(value)}'
        f'<td><i style="--share:{abs(value) / largest:.3f};background:{colour if value > 0 else "#cf222e"}"></i>'
        for name, value in values.items()
    ]
    if total is not None:
        rows.append(f'<tr><td><b>sum</b><td class="number"><b>{number_format.format(total)}</b><td>')
    return f'<table class="bars">{"".join(rows)}</table>'


def _weight_cell(weight: float) -> str:
    return f"{weight:.3f}".removeprefix("0")

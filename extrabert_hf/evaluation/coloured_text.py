"""An explanation as coloured words: in a terminal, and as an HTML page."""

import html

from extrabert_hf.evaluation.explanation import Explanation

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

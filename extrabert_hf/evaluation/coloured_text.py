"""An explanation as coloured words: in a terminal, and as an HTML page."""

import html

from extrabert_hf.evaluation.explanation import Explanation

SHADES = (255, 195, 153, 117, 111, 75, 69, 33)
"""Backgrounds of a terminal's 256 colours, from white to blue."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{answer}</title>
<style>
body {{ font: 18px/2 system-ui, sans-serif; max-width: 50em; margin: 3em auto; padding: 0 1em; color: #1f2328 }}
span {{ border-radius: 4px; padding: 2px 3px; margin: 0 1px }}
td {{ padding: 2px 12px 2px 0; line-height: 1.4 }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums }}
i {{ display: inline-block; height: .8em; border-radius: 2px }}
small {{ color: #59636e }}
</style>
<h1>{answer}</h1>
{sentences}
{parts}
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
            shades = [SHADES[round(weight / strongest * (len(SHADES) - 1))] for weight in weights]
            words = [f"\x1b[30;48;5;{shade}m{token}\x1b[0m" for shade, token in zip(shades, tokens, strict=True)]
        else:
            words = [f"{token} {_share(weight)}" for token, weight in zip(tokens, weights, strict=True)]
        lines.append(" ".join(words) if colour else ", ".join(words))
    width = max(map(len, explanation.parts), default=0)
    lines += [f"  {name:<{width}} {value:+.3f}" for name, value in explanation.parts.items()]
    if explanation.parts:
        lines.append(f"  {'sum':<{width}} {sum(explanation.parts.values()):+.3f}")
    return "\n".join(lines)


def to_html(explanation: Explanation) -> str:
    """Writes an explanation as a page that needs nothing beside it; weights are the words' colours and titles."""
    sentences = []
    for index, tokens in enumerate(explanation.tokens):
        weights = [0.0] * len(tokens) if explanation.weights is None else explanation.weights[index]
        strongest = max(weights)
        words = [
            f'<span title="{_share(weight)}" style="background:rgb(9 105 218 / {opacity(weight, strongest)})">'
            f"{html.escape(token)}</span>"
            for token, weight in zip(tokens, weights, strict=True)
        ]
        sentences.append(f"<p>{' '.join(words)}</p>")
    if explanation.weights is None:
        sentences.append("<p><small>The encoder's own pooler gives tokens no weights.</small></p>")
    return PAGE.format(
        answer=html.escape(explanation.answer), sentences="\n".join(sentences), parts=_parts_table(explanation.parts)
    )


def _parts_table(parts: dict[str, float]) -> str:
    if not parts:
        return ""
    largest = max(abs(value) for value in parts.values()) or 1.0
    rows = [
        f'<tr><td>{name}<td class="number">{value:+.3f}<td><i style="width:{12 * abs(value) / largest:.1f}em;'
        f'background:{"#1a7f37" if value > 0 else "#cf222e"}"></i>'
        for name, value in parts.items()
    ]
    total = f'<tr><td><b>sum</b><td class="number"><b>{sum(parts.values()):+.3f}</b><td>'
    return f"<table>{''.join(rows)}{total}</table>"


def _share(weight: float) -> str:
    return f"{weight:.3f}".removeprefix("0")

"""Tables as Markdown, csv and LaTeX, and the text of their cells."""

import csv
import io
import re
from collections.abc import Iterable
from functools import partial
from math import isnan
from typing import Any

from extrabert_hf.errors import printable
from extrabert_hf.evaluation.scores import interval_text
from extrabert_hf.terminal import markdown_rows

LATEX_ESCAPES = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "±": r"$\pm$"}
)
MARKDOWN = re.compile(r"[\\`|$]|<(?=[A-Za-z/!?])|\[(?![-+.\d]+, [-+.\d]+\](?!\())|(?<!\w)[*_~]|[*_~](?!\w)")
"""Characters that Markdown reads as a format; the bracket of an interval is none."""


def to_csv(lines: list[dict[str, Any]]) -> str:
    """Formats one or more lines with the same keys as csv. Numbers have all digits; `None` is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def to_markdown(cells: list[dict[str, str]], caption: str, notes: Iterable[str]) -> str:
    """Formats one or more rows, each from column heading to text, as a Markdown table with a caption and notes."""
    rows = (list(map(markdown_text, row)) for row in (cells[0], *(row.values() for row in cells)))
    table = "\n".join(markdown_rows(rows))
    return "\n\n".join([caption, table, *notes]) + "\n"


def to_latex(cells: list[dict[str, str]], caption: str, notes: Iterable[str]) -> str:
    """Formats rows as a LaTeX `table*` of the width of the page; special characters are escaped."""
    header, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in (cells[0], *(row.values() for row in cells)))
    lines = [r"\begin{table*}", rf"\caption{{{_latex(caption)}}}", r"\resizebox{\textwidth}{!}{%"]
    lines += [rf"\begin{{tabular}}{{{'l' * len(cells[0])}}}", r"\toprule", header, r"\midrule", *rows, r"\bottomrule"]
    lines += [r"\end{tabular}}", *(rf"\par\smallskip {_latex(note)}" for note in notes), r"\end{table*}", ""]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    r"""
    Returns a text for Markdown, on one line: no character of it makes a table, a link, an image, code or HTML.

    Example:
        >>> markdown_text("a|b\n[c](javascript:d) <e> .482 [.460, .500]")
        'a\\|b \\[c](javascript:d) \\<e> .482 [.460, .500]'
    """
    return re.sub(r"^([#>+-]|\d+[.)])(?=\s)", r"\\\1", MARKDOWN.sub(r"\\\g<0>", printable(text)))


def _latex(text: str) -> str:
    text = printable(text).translate(LATEX_ESCAPES)
    return re.sub(r"(?<!\w)-(?=\.?\d)", "$-$", text)  # a minus sign before a number


def number_cell(value: float | None, sign: str = "-") -> str:
    """Formats a number with three digits and without a leading 0, `.482`; `None` and NaN are a hyphen."""
    if value is None or isnan(value):
        return "-"
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{round(value, 3) + 0.0:{sign}.3f}")  # + 0.0 makes -0.0 plain 0.0


def score_cell(mean: float | None, sd: float | None, low: float | None, high: float | None, sign: str = "-") -> str:
    """Formats a mean, an optional standard deviation and an [`interval_text`]: `.482 ± .003 [.460, .500]`."""
    if mean is None:
        return "not run"
    spread = "" if sd is None else f" ± {number_cell(sd)}"
    interval = interval_text(low, high, partial(number_cell, sign=sign))
    return f"{number_cell(mean, sign)}{spread} {interval}"


def p_cell(value: float | None) -> str:
    """Formats a p-value; below 0.001 it is `<.001`."""
    return "<.001" if value is not None and value < 0.001 else number_cell(value)

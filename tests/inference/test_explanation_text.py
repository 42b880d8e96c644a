import re

import pytest

from extrabert_hf.inference.explanation import Explanation, to_html, to_terminal

EXPLANATION = Explanation(
    "paraphrase, 90.0 %", [["a", "<b>"], ["c"]], [[0.25, 0.75], [1.0]], {"u": 0.5, "cosine": -0.125, "bias": 0.0}
)


def test_plain_text_has_every_number():
    lines = to_terminal(EXPLANATION, colour=False).splitlines()
    assert lines[:3] == ["paraphrase, 90.0 %", "a .250, <b> .750", "c 1.000"]
    assert [line.split() for line in lines[3:]] == [
        ["u", "+0.500"],
        ["cosine", "-0.125"],
        ["bias", "+0.000"],
        ["sum", "+0.375"],
    ]


def test_the_strongest_token_has_the_strongest_colour():
    line = to_terminal(EXPLANATION).splitlines()[1]
    (weak, strong) = re.findall(r"48;5;(\d+)m", line)
    assert (weak, strong) == ("153", "33") and line.endswith("\x1b[0m")


def test_a_page_escapes_words_and_needs_nothing_else():
    page = to_html(EXPLANATION)
    assert "&lt;b&gt;" in page and "<b>" not in page.replace("<b>sum", "").replace("<b>+0.375", "")
    assert "http" not in page and "src=" not in page
    alphas = [float(alpha) for alpha in re.findall(r"218 / ([\d.]+)\)", page)]
    assert alphas == pytest.approx([0.08, 0.7, 0.7])


def test_an_explanation_without_weights_says_so():
    bare = Explanation("neutral, 40.0 %", [["a", "b"]], None, {})
    assert to_terminal(bare) == "neutral, 40.0 %\na b\nThe encoder's own pooler does not weight tokens."
    page = to_html(bare)
    assert "does not weight tokens" in page and "<table>" not in page and "title=" not in page

"""Text of figures: what the font can draw, on one line, of limited length, without mathematical notation."""

from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font

from extrabert_hf.errors import printable

MAX_LENGTH = 28
"""Maximum number of characters of a name in a figure."""
MISSING = "\N{WHITE SQUARE}"
"""The character that is drawn instead of a character that the font does not have."""


def figure_text(text: str, length: int = MAX_LENGTH) -> str:
    r"""
    Returns a text as a figure can draw it. matplotlib reads text between `$` as a formula and warns of each character
    that its font does not have.

    Args:
        text (`str`):
            Any text, such as the name of a class, of a run or of a column.
        length (`int`, defaults to [`MAX_LENGTH`]):
            Maximum number of characters.

    Example:
        >>> figure_text("$\\frac$\n positive")
        '\\$\\frac\\$ positive'
    """
    drawn = "".join(character if ord(character) in _characters() else MISSING for character in printable(text, length))
    return drawn.replace("$", r"\$")


def is_drawn_whole(text: str) -> bool:
    """Returns whether [`figure_text`] shows every character of a name."""
    return figure_text(text).replace(r"\$", "$") == text


@cache
def _characters() -> frozenset[int]:
    """Returns the code points of the font. The user can choose another font in `matplotlibrc`."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())

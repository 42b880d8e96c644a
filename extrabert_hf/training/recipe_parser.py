"""The command line of a recipe."""

from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from transformers import HfArgumentParser

from extrabert_hf.errors import InputError


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Makes an [`InputError`] of what transformers' own checks of its arguments refuse."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error


class _HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Shows defaults, and the description as it is written."""


class RecipeParser(HfArgumentParser):
    """An `HfArgumentParser` whose errors are one line, and whose flags are spelt out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, formatter_class=_HelpFormatter, **kwargs)

    def parse_args_into_dataclasses(self, *args: Any, return_remaining_strings: bool = False, **kwargs: Any) -> tuple:
        """As that of transformers; words that are left over, and what a dataclass refuses, are one-line errors."""
        with refused_in_one_line():
            *parsed, rest = super().parse_args_into_dataclasses(*args, return_remaining_strings=True, **kwargs)
        if rest and not return_remaining_strings:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return (*parsed, rest) if return_remaining_strings else tuple(parsed)

    def error(self, message: str) -> NoReturn:
        """Raises [`InputError`] in place of printing all usage."""
        raise InputError(f"{message} (--help lists every argument)")

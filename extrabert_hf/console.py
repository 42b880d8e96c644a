"""How a recipe talks to the terminal."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from extrabert_hf.errors import InputError


@contextmanager
def recipe_console() -> Iterator[None]:
    """
    Shows the package's messages on stderr while a recipe runs; an [`InputError`] ends it in one line, with status 2.

    Of a machine's processes only the first talks. Any other exception passes through: it is a defect of ours and keeps
    its traceback.
    """
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    package = logging.getLogger("extrabert_hf")
    level_before = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO if is_first else logging.ERROR)
    format_before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        yield
    except InputError as error:
        if is_first:
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    finally:
        warnings.formatwarning = format_before
        package.removeHandler(handler)
        package.setLevel(level_before)

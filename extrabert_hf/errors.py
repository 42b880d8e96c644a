"""What a user can mend."""

import importlib.util


class InputError(ValueError):
    """Something the user gave cannot be used: the message names it, the allowed form, and what came."""


def need_packages(what: str, extra: str, *packages: str) -> None:
    """
    Asks for packages that only a part of this one needs.

    Args:
        what (`str`):
            The part, as in "the export needs ...".
        extra (`str`):
            The extra that installs them.
        packages (`str`):
            Their import names.

    Raises:
        [`InputError`]: for the first that is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{what} needs {package.replace('_', '-')}: pip install 'extrabert_hf[{extra}]'")

"""
Lists the YAML files that come with the package, prints one, or copies one to change it.

    extrabert configs
    extrabert configs minilm/sts
    extrabert configs minilm/sts --output sts.yaml

`extrabert train sts --config minilm/sts` uses a file of the list by its name.
"""

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from extrabert_hf.errors import InputError, need_place_for_file
from extrabert_hf.files import write_text
from extrabert_hf.training.command_parser import CommandParser
from extrabert_hf.training.packaged_configs import config_names, find_config


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser([], prog="extrabert configs", description=__doc__)
    parser.add_argument(
        "name", nargs="?", help="Name in the list, such as minilm/sts; without it the list is printed."
    )
    parser.add_argument("--output", type=Path, help="New file to copy the YAML to.")
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    arguments = make_parser().parse_args(words)
    if arguments.name is None:
        if arguments.output is not None:
            raise InputError("`output` needs the name of a config before it: see `extrabert configs`.")
        print(*map(_line, config_names()), sep="\n")
        return
    text = find_config(arguments.name, "name").read_text(encoding="utf-8")
    if arguments.output is None:
        print(text, end="")
        return
    if arguments.output.exists():
        raise InputError(f"`output` must be a new file, {arguments.output} exists.")
    need_place_for_file("output", arguments.output)
    write_text(arguments.output, text)
    print(f"{arguments.name} is in {arguments.output}: use it as --config {arguments.output}")


def _line(name: str) -> str:
    """Returns the name of a config with the first sentence of the comment at the start of its file."""
    lines = find_config(name).read_text(encoding="utf-8").splitlines()
    text = takewhile(lambda line: line.startswith("#") and not line.startswith("# extrabert "), lines)
    comment = " ".join(line.removeprefix("#").strip() for line in text)
    return f"{name:<28} {re.split('(?<=[.]) (?=[A-Z])', comment)[0].removesuffix(':')}".rstrip()

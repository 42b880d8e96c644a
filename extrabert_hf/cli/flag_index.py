"""
Writes `flags.json`, the index of the arguments of all commands, from the commands' parsers.

    python -m extrabert_hf.cli.flag_index

Run it after each change of an argument; it needs the extra `search`. A test compares the index with the parsers.
"""

import importlib
import json
import sys
from argparse import Action, ArgumentParser
from typing import Any

import transformers

from extrabert_hf.cli.flags import INDEX, TYPES
from extrabert_hf.cli.main import COMMANDS
from extrabert_hf.console import command_console
from extrabert_hf.files import write_text
from extrabert_hf.training.help_page import FURTHER

COMMAND = "python -m extrabert_hf.cli.flag_index"


def describe_parser(parser: ArgumentParser) -> dict[str, Any]:
    """
    Describes a parser as plain data: its texts, and by group its arguments.

    Of the arguments that only `--help_all` shows, the description has no help text and no default.
    """
    groups = {}
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest not in ("help", "help_all")]
        if actions:
            groups[group.title] = [_describe(action, short=group.title == FURTHER) for action in actions]
    described = {"prog": parser.prog, "usage": parser.usage, "description": parser.description, "groups": groups}
    return json.loads(json.dumps(described, default=str))  # tuples become lists, paths become text


def _describe(action: Action, *, short: bool) -> dict[str, Any]:
    kind = getattr(action.type, "__name__", None)
    described = {
        "flags": action.option_strings or None,
        "dest": action.dest,
        "nargs": action.nargs,
        "type": kind if kind in TYPES else None,
        "choices": None if action.choices is None else [str(choice) for choice in action.choices],
        "required": True if action.required and action.option_strings else None,
        "metavar": action.metavar,
    }
    described |= {} if short else {"default": action.default, "help": action.help}
    return {key: value for key, value in described.items() if value is not None}


def describe_commands() -> dict[str, Any]:
    """Describes the parser of each command."""
    return {
        command: describe_parser(importlib.import_module(f"extrabert_hf.cli.{command}").make_parser())
        for command in COMMANDS
    }


def index_text(parsers: dict[str, Any]) -> str:
    """Writes the index as JSON with one line for each argument."""
    return (
        f'{{"transformers": {json.dumps(transformers.__version__)}, "parsers": '
        + _block({command: _block(_texts(each) | {"groups": _groups(each)}) for command, each in parsers.items()})
        + "}\n"
    )


def _texts(described: dict[str, Any]) -> dict[str, str]:
    return {key: json.dumps(described[key]) for key in ("prog", "usage", "description")}


def _groups(described: dict[str, Any]) -> str:
    groups = described["groups"].items()
    return _block({title: "[\n" + ",\n".join(map(json.dumps, arguments)) + "\n]" for title, arguments in groups})


def _block(entries: dict[str, str]) -> str:
    """Returns an object of JSON whose values are JSON already."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {text}" for key, text in entries.items()) + "\n}"


if __name__ == "__main__":
    with command_console():
        write_text(INDEX, index_text(describe_commands()))
        print(f"the flags of {len(COMMANDS)} commands are in {INDEX}", file=sys.stderr)

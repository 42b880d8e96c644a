"""`--help` and the check of a command line, in a fraction of a second: `flags.json` has the flags of every command."""

import difflib
import importlib
import json
import os
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from extrabert_hf.cli.launch import FLAG, PARALLEL
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import RUN_TASKS
from extrabert_hf.training.flag_parser import FlagParser
from extrabert_hf.training.help_page import FURTHER

INDEX = Path(__file__).with_name("flags.json")
"""The arguments of every command. `python -m extrabert_hf.cli.flag_index` writes the file."""

FORWARDS = ("search", "table1")
"""The commands that pass unknown flags on to their training runs."""

DATA_OR_TASK = f"data (a file, a folder or a Hub id as owner/name) or a task ({', '.join(RUN_TASKS)})"
SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")
HELP = {"-h", "--help"}


def string_to_bool(text: str) -> bool:
    """Converts as transformers' function of this name does, without an import of transformers."""
    if text.lower() not in ("yes", "true", "t", "y", "1", "no", "false", "f", "n", "0"):
        raise ValueError(text)
    return text.lower() in ("yes", "true", "t", "y", "1")


TYPES: dict[str, Callable[[str], Any]] = {
    **{"int": int, "float": float, "string_to_bool": string_to_bool, "Path": Path},
}
"""By the name of a type in the index, the type. All others are text."""


def read_index() -> dict[str, Any]:
    """Reads the index: the version of transformers, and by command the arguments."""
    return json.loads(INDEX.read_text(encoding="utf-8"))


def build_parser(described: dict[str, Any]) -> FlagParser:
    """
    Makes a parser that has the flags of a command's own parser.

    Args:
        described (`dict`):
            The entry of a command in the index, as of [`describe_parser`].
    """
    parser = FlagParser(prog=described["prog"], usage=described["usage"], description=described["description"])
    groups = {group.title: group for group in parser._action_groups}
    for title, arguments in described["groups"].items():
        group = groups.get(title) or parser.add_argument_group(title)
        for argument in arguments:
            options = {"default": None, "help": None} | {
                k: v for k, v in argument.items() if k not in ("flags", "dest")
            }
            if options.get("nargs") == 0:
                options = {k: v for k, v in options.items() if k != "nargs"} | {"action": "store_const", "const": True}
            elif options.get("nargs") == "?" and "flags" in argument:
                options["const"] = True
            if "type" in options:
                options["type"] = TYPES[options["type"]]
            names = argument.get("flags", [argument["dest"]])
            group.add_argument(*names, **options, **({"dest": argument["dest"]} if "flags" in argument else {}))
    return parser


def check_words(command: str, words: Sequence[str]) -> None:
    """
    Prints the page of `--help`, or checks the words of a command, before the command's module is imported.

    The flags of `TrainingArguments` depend on the version of transformers. If the installed version is not that of the
    index, this function only prints the page of `--help`, and the parser of the command checks the words.

    Args:
        command (`str`):
            Key of [`COMMANDS`].
        words (`Sequence[str]`):
            The words after the command, without `--num_processes`.

    Raises:
        [`InputError`]: for an unknown flag or a wrong value.
        [`SystemExit`]: after a page of help.
    """
    index = read_index()
    parsers = index["parsers"]
    described = parsers[command]
    if command == "train" and words and words[0] != "multitask" and not words[0].startswith("-"):
        described = described | {"groups": described["groups"] | {"multitask": []}}
    before_end = words[: list(words).index("--")] if "--" in words else words
    if "--help_all" in before_end:
        parser = importlib.import_module(f"extrabert_hf.cli.{command}").make_parser()
        _add_launch_flag(parser, command)
        parser.parse_args(["--help_all"])
    parser = build_parser(described)
    _add_launch_flag(parser, command)
    if HELP & set(before_end):
        parser.parse_args(["--help"])
    if command == "train":
        words = _flags_of_training(
            words, {flag for each in parsers["train"]["groups"]["multitask"] for flag in each["flags"]}
        )
    elif command == "search" and words and not words[0].startswith("-"):
        _check_data("search", words[0])
        words = words[1:]
    has_further = command in FORWARDS or FURTHER in described["groups"]
    if has_further and version("transformers") != index["transformers"]:
        return
    if command not in FORWARDS:
        parser.parse_args(words)
        return
    training = build_parser(parsers["train"])
    parser.refuse_unknown(words, training)
    training.parse_args(parser.parse_known_args(words)[1])


def _flags_of_training(words: Sequence[str], of_multitask: set[str]) -> Sequence[str]:
    """Returns the words after the first one; raises [`InputError`] if that is no task or data, or lacks a flag."""
    first = words[0] if words else ""
    if not first or first.startswith("-"):
        raise InputError(
            f"`extrabert train` needs as its first word {DATA_OR_TASK}. For example: extrabert train reviews.csv, or: "
            "extrabert train sts --config minilm/sts --data sample"
        )
    _check_data("train", first)
    if first != "multitask":
        for flag in (word.partition("=")[0] for word in words[1:]):
            if flag in of_multitask:
                raise InputError(f"`{flag}` is for `extrabert train multitask`, not for {first!r}.")
    return words[1:]


def _check_data(command: str, first: str) -> None:
    """Raises [`InputError`] for a first word that is no task, no file or folder, and can't be a Hub id."""
    path = Path(first)
    if first in RUN_TASKS or path.exists():
        return
    beside = [f"{path.parent / name}" for name in os.listdir(path.parent)] if path.parent.is_dir() else []
    near = difflib.get_close_matches(first, RUN_TASKS, n=1) or difflib.get_close_matches(first, beside, n=1)
    is_path = path.suffix.lower() in SUFFIXES or first.startswith((".", "/", "~"))
    if is_path or (near and "/" not in first):  # a Hub id has a slash
        raise InputError(
            f"the first word after `{command}` must be {DATA_OR_TASK}, got {first!r}: no such file or folder."
            + (f" Did you mean `{near[0]}`?" if near else "")
        )


def _add_launch_flag(parser: FlagParser, command: str) -> None:
    """Adds the flag that [`take_num_processes`] takes out of the words, for the page of help."""
    if command in PARALLEL:
        text = "Number of processes on this machine, which share the work: one a GPU, or on the CPU."
        parser.add_argument(FLAG, type=int, default=SUPPRESS, help=text)

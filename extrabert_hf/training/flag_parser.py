"""The parser of a command line, without large imports: refuses secrets, unknown flags and wrong values in one line."""

import difflib
import re
import shlex
import sys
from argparse import SUPPRESS, Action, ArgumentError, ArgumentParser, Namespace
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from extrabert_hf.errors import InputError, did_you_mean, without_secrets
from extrabert_hf.training.help_page import FURTHER, help_page

HUB_TOKENS = ("hub_token", "push_to_hub_token", "token", "hf_token")
SECRET_FLAG = re.compile(r"(^|_)(token|api_?key|access_key|password|passwd|secret|credentials?)$")
"""Names of flags with a secret."""

FLAG = re.compile(r"--?[A-Za-z][\w-]*")
"""A word that is a flag. Other words that start with `-` are numbers, texts or standard input."""

OTHER_NAMES = {
    **dict.fromkeys(("lr", "rate"), ("learning_rate",)),
    **dict.fromkeys(("epoch", "epochs", "num_epochs", "n_epochs", "max_epochs"), ("num_train_epochs",)),
    **dict.fromkeys(("batch", "batch_size", "bs"), ("per_device_train_batch_size", "batch_size")),
    **dict.fromkeys(("model", "encoder", "model_name", "backbone", "base_model"), ("model_name_or_path",)),
    **dict.fromkeys(("o", "out", "output", "out_dir", "save_dir", "folder"), ("output_dir", "output")),
    **dict.fromkeys(("output_file", "out_file", "output_dir"), ("output", "html", "json")),
    **dict.fromkeys(("d", "dataset", "dataset_name", "file", "train", "train_file", "train_data"), ("data",)),
    **dict.fromkeys(("dev", "dev_file", "eval_data", "valid", "validation_file"), ("dev_data",)),
    **dict.fromkeys(("test_file", "test_dataset"), ("test_data",)),
    **dict.fromkeys(("extra_data", "extra", "more_data", "additional_data"), ("extra_train",)),
    **dict.fromkeys(("max_len", "max_seq_length", "seq_len"), ("max_length",)),
    **dict.fromkeys(("text_column", "sentence_column", "text"), ("sentence1_column",)),
    **dict.fromkeys(("label", "target", "labels"), ("label_column",)),
    **dict.fromkeys(("classes",), ("class_names",)),
    **dict.fromkeys(("warmup", "warmup_ratio"), ("warmup_steps",)),
    **dict.fromkeys(("patience", "early_stopping"), ("early_stopping_patience",)),
    **dict.fromkeys(("resume", "resume_from"), ("resume_from_checkpoint",)),
    **dict.fromkeys(("overwrite", "force"), ("overwrite_output_dir",)),
    **dict.fromkeys(("accumulation", "grad_accum"), ("gradient_accumulation_steps",)),
    **dict.fromkeys(("wd",), ("weight_decay",)),
    **dict.fromkeys(("rank", "r"), ("lora_r",)),
    **dict.fromkeys(("nproc", "num_proc", "processes", "n_proc", "nproc_per_node"), ("num_processes",)),
    **dict.fromkeys(("trials",), ("n_trials",)),
}
"""By the name of a flag in other programs, the flags of this package. The first that a command has is suggested."""


def refuse_secrets(words: Sequence[str]) -> None:
    """Raises [`InputError`] for a flag or a value that is a secret: other programs and files can contain the words."""
    for word in words:
        name = word.partition("=")[0].lstrip("-").replace("-", "_")
        if word.startswith("--") and SECRET_FLAG.search(name.lower()):
            variable = "HF_TOKEN" if name.lower() in HUB_TOKENS else name.upper()
            login = " (or use `hf auth login`)" if variable == "HF_TOKEN" else ""
            raise InputError(
                f"`{name}` can't be a flag or an entry of a file, because others can read them: set the environment "
                f"variable {variable}{login}."
            )
        if without_secrets(word) != word:
            raise InputError(
                f"a flag can't have a password or a token as its value, because others can read it, got {word!r}: set "
                "the environment variable HF_TOKEN for the Hub, or EXTRABERT_STORAGE for the --storage of a search."
            )


def nearest_flag(typed: str, known: Collection[str]) -> str | None:
    """
    Returns the flag that a user may have meant.

    Args:
        typed (`str`):
            The flag as it was typed, with its hyphens.
        known (`Collection[str]`):
            The names of the flags of the command, without the hyphens at their start.

    Example:
        >>> known = ["learning_rate", "data", "per_device_train_batch_size"]
        >>> nearest_flag("--lr", known), nearest_flag("-data", known), nearest_flag("--learning-rat", known)
        ('learning_rate', 'data', 'learning_rate')
        >>> nearest_flag("--zzz", known) is None
        True
    """
    name = typed.lstrip("-").replace("-", "_").lower()
    if name in known:
        return name
    other = next((flag for flag in OTHER_NAMES.get(name, ()) if flag in known), None)
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    longer = [flag for flag in known if len(name) > 2 and name in flag]
    return other or next(iter([*near, *sorted(longer, key=len)]), None)


class HelpAll(Action):
    """The flag `--help_all`: prints the page of `--help` with all flags."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        """Prints the page and ends the process."""
        print(help_page(parser, everything=True), end="")  # noqa: T201
        parser.exit()


class FlagParser(ArgumentParser):
    """
    An `ArgumentParser` that reports errors in one line, with the flag that may be meant, and has a short `--help`.

    Flags can't be abbreviated. Each flag can also be written with hyphens: `--output-dir`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        (own_help,) = (action for action in self._actions if action.dest == "help")
        own_help.help = "Show this page and exit."
        text = f"Show this page with {FURTHER}, and exit."
        self.add_argument("--help_all", action=HelpAll, nargs=0, default=SUPPRESS, help=text)

    def add_argument(self, *names: str, **options: Any) -> Action:
        """Adds an argument as argparse does, and for a flag also its spelling with hyphens."""
        spelled = [f"--{name[2:].replace('_', '-')}" for name in names if name.startswith("--") and "_" in name]
        return super().add_argument(*dict.fromkeys([*names, *spelled]), **options)

    def format_help(self) -> str:
        """Returns the page of `--help`."""
        return help_page(self, everything=False)

    @property
    def flag_names(self) -> set[str]:
        """The names of the flags without the hyphens at their start, each spelled with underscores."""
        return {flag[2:].replace("-", "_") for flag in self._option_string_actions if flag.startswith("--")}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Namespace, list[str]]:
        """Parses as argparse does; refuses secrets first, so that no message and no file contains one."""
        refuse_secrets(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Namespace:
        """Parses as argparse does; an unknown flag is the first error, and the message names the nearest flag."""
        self.refuse_unknown(sys.argv[1:] if args is None else args)
        namespace, rest = self.parse_known_args(args, namespace)
        self.refuse_rest(rest)
        return namespace

    def refuse_unknown(self, words: Sequence[str], further: "FlagParser | None" = None) -> None:
        """
        Raises [`InputError`] for the first unknown flag.

        Args:
            words (`Sequence[str]`):
                The words of the command line.
            further ([`FlagParser`], *optional*):
                The parser that gets the flags which this parser does not have.
        """
        refuse_secrets(words)
        parsers = [self] if further is None else [self, further]
        for word in words:
            if word == "--":
                return
            typed = word.partition("=")[0]
            if not FLAG.fullmatch(typed) or any(typed in parser._option_string_actions for parser in parsers):
                continue
            near = nearest_flag(typed, set().union(*(parser.flag_names for parser in parsers)))
            hint = f"`{parsers[-1].prog} --help_all` lists all flags." if near is None else f"Did you mean `--{near}`?"
            raise InputError(f"`{typed}` is not a flag of `{self.prog}`. {hint}")

    def refuse_rest(self, rest: Sequence[str]) -> None:
        """Raises [`InputError`] if words are left that no argument takes."""
        if rest:
            if "data" in self.flag_names and Path(rest[0]).exists():
                typed = f"--data {shlex.quote(rest[0])}"
                raise InputError(f"`{self.prog}` can't use the word {rest[0]!r} here: type {typed}.")
            raise InputError(
                f"`{self.prog}` can't use the word {rest[0]!r}: a text of several words needs quotes. "
                f"`{self.prog} --help` shows the arguments that have no flag."
            )

    def error(self, message: str) -> NoReturn:
        """Raises an [`InputError`] instead of printing the usage."""
        if found := re.search(r"arguments are required: (.*)", message):
            names = [name.partition("/")[0] for name in found[1].split(", ")]
            needed = " and ".join(", ".join(names).rsplit(", ", 1))
            example = re.search(rf"^ +({re.escape(self.prog)} .*)$", self.description or "", re.MULTILINE)
            hint = f"`{self.prog} --help` explains them." if example is None else f"For example: {example[1]}"
            raise InputError(f"`{self.prog}` needs {needed}. {hint}")
        raise InputError(f"{message} (--help lists every argument)")

    def _get_value(self, action: Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except ArgumentError as error:
            kinds = {"int": "a whole number", "float": "a number", "string_to_bool": "true or false"}
            kind = kinds.get(getattr(action.type, "__name__", ""))
            if kind is None:
                raise
            raise InputError(f"`{action.dest}` must be {kind}, got {arg_string!r}.") from error

    def _check_value(self, action: Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        allowed, hint = ", ".join(map(repr, action.choices)), did_you_mean(value, map(str, action.choices))
        raise InputError(f"`{action.dest}` must be one of {allowed}, got {value!r}.{hint}")

    def _match_argument(self, action: Action, arg_strings_pattern: str) -> int:
        try:
            return super()._match_argument(action, arg_strings_pattern)
        except ArgumentError as error:
            if not action.option_strings:
                raise
            flag = action.option_strings[0]
            raise InputError(f"`{flag}` needs a value after it: `{self.prog} --help` explains {flag}.") from error

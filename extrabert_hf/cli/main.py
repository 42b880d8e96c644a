"""The command `extrabert`: finds the module of a subcommand and runs it. No large module is imported before that."""

import difflib
import importlib
import sys
from collections.abc import Sequence

from extrabert_hf import __version__
from extrabert_hf.cli.flags import check_words
from extrabert_hf.cli.launch import launch_processes, take_num_processes
from extrabert_hf.console import command_console
from extrabert_hf.errors import InputError

COMMANDS = {
    "train": "fine-tune a model on a task of the paper or on your own data",
    "evaluate": "score a model, or an ensemble, on labelled rows",
    "predict": "predict each sentence or pair of a file",
    "calibrate": "calibrate the probabilities of a classifier",
    "compare": "compare finished runs on the same rows, with paired tests",
    "report": "write the HTML report of finished runs",
    "explain": "show the weight of each token in a prediction",
    "demo": "serve a web page that predicts typed sentences",
    "export": "write a model as ONNX, sentence-transformers or safetensors",
    "push": "push finished runs to the Hub",
    "compose": "combine models with adapters into one model",
    "audit": "check rows before training",
    "search": "search for the best arguments of a run",
    "table1": "run and print Table 1 of the paper",
    "pretrain": "pre-train an encoder on plain text with a contrastive loss",
    "configs": "list, print or copy the YAML files of the package",
}
"""By command, what it does. The module of the same name in this folder has the command's `main`."""


def main(words: Sequence[str] | None = None) -> None:
    """
    Runs `extrabert COMMAND ...`.

    Args:
        words (`Sequence[str]`, *optional*):
            The words after `extrabert`. The default is those of this process.
    """
    command, *rest = (sys.argv[1:] if words is None else words) or ["--help"]
    if command == "help" and rest:  # `extrabert help train` is `extrabert train --help`
        command, rest = rest[0], [*rest[1:], "--help"]
    if command in ("-h", "--help", "help"):
        print(overview())
    elif command == "--version":
        print(f"extrabert_hf {__version__}")
    else:
        run_command(command, rest)


def run_command(command: str, words: Sequence[str]) -> None:
    """
    Runs a command with the package's log on stderr; the exit status is as in [`command_console`].

    Args:
        command (`str`):
            Key of [`COMMANDS`].
        words (`Sequence[str]`):
            The words of the command line after the command.
    """
    with command_console():
        if command not in COMMANDS:
            near = difflib.get_close_matches(command, COMMANDS, n=1)
            hint = f" Did you mean `extrabert {near[0]}`?" if near else " `extrabert --help` lists the commands."
            raise InputError(f"`extrabert` has no command {command!r}.{hint}")
        num_processes, words = take_num_processes(words)
        check_words(command, words)
        if num_processes is not None:
            launch_processes(command, words, num_processes)
        importlib.import_module(f"extrabert_hf.cli.{command}").main(words)


def overview() -> str:
    """Lists the commands."""
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    head = ["usage: extrabert COMMAND [...]", "", "Fine-tune BERT-like encoders, and use the models.", ""]
    return "\n".join([*head, *lines, "", "extrabert COMMAND --help explains a command; extrabert --version"])

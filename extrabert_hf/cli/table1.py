"""
Runs the unfinished rows of the paper's Table 1, then writes the table with confidence intervals and paired tests.

    extrabert table1 --data sample --model_name_or_path minilm --num_train_epochs 1

Flags that are not listed here are passed to every run (see `extrabert train sts --help`).
"""

from collections.abc import Sequence

from extrabert_hf.paper.runner import Table1Arguments, run_table1
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    return CommandParser(Table1Arguments, prog="extrabert table1", description=__doc__)


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    arguments, flags = make_parser().parse_args_into_dataclasses(words, return_remaining_strings=True)
    print(run_table1(arguments, flags))

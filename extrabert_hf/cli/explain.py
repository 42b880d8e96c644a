"""
Explains a prediction: the weight of each token, and the contribution of each feature of a pair.

    extrabert explain runs/sts "A man is playing a guitar." "Someone plays the guitar." --html why.html
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from extrabert_hf.files import own_file, write_text
from extrabert_hf.inference.explanation import explain, to_html, to_terminal
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser([], prog="extrabert explain", description=__doc__, loads_models=True)
    parser.add_argument("model", help="Folder or Hub id of a model trained with this package.")
    parser.add_argument("sentences", nargs="+", help="One sentence, or two for a model of pairs.")
    parser.add_argument("--task", help="Task of a multitask model.")
    parser.add_argument("--html", type=Path, help="HTML page to write.")
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    arguments = make_parser().parse_args(words)
    with own_file("html", arguments.html):
        explanation = explain(load_model(arguments.model, arguments.task), arguments.sentences)
        print(to_terminal(explanation, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
        if arguments.html is not None:
            write_text(arguments.html, to_html(explanation))

"""
Serves a web page that shows the predictions of models for typed sentences side by side, with token weights.

    extrabert demo runs/sst runs/para runs/sts
    extrabert demo runs/multitask attention=runs/sts mean=runs/sts_mean --port 8000
"""

from collections.abc import Sequence

from transformers.hf_argparser import string_to_bool

from extrabert_hf.inference.demo import serve_demo
from extrabert_hf.runs.labelled_rows import example_sentences
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser([], prog="extrabert demo", description=__doc__, loads_models=True)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="Folder or Hub id of a model, or NAME=MODEL.")
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    parser.add_argument("--port", type=int, default=7860, help="Port to listen on; 0 selects a free port.")
    parser.add_argument(
        "--dev_examples",
        type=string_to_bool,
        default=True,
        help="Show dev rows of the models' runs as examples to every visitor, if the files of the rows exist.",
    )
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    arguments = make_parser().parse_args(words)
    examples = example_sentences(arguments.models) if arguments.dev_examples else ()
    serve_demo(arguments.models, arguments.host, arguments.port, examples=examples)

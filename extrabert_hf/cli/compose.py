"""
Combines models of one task each, fine-tuned separately with --lora true, into one model: one encoder, and an adapter
and a head for each task.

    extrabert compose runs/sst runs/para runs/sts --output_dir runs/composed
"""

from collections.abc import Sequence

from extrabert_hf.sharing.composition import compose_runs
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser([], prog="extrabert compose", description=__doc__, loads_models=True)
    parser.add_argument("folders", nargs="+", help="Output folders of training runs.")
    parser.add_argument("--output_dir", required=True, help="Folder for the combined model.")
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    arguments = make_parser().parse_args(words)
    print(compose_runs(arguments.folders, arguments.output_dir), end="\n\n")
    print(f"the model is in {arguments.output_dir}: `extrabert evaluate` and `extrabert predict` take --task")

"""
Compares finished runs of a task on the same dev rows: differences with intervals, and paired tests with Holm's
correction.

    extrabert compare runs/sts runs/sts_mean --output_dir runs/compared
    extrabert compare attention=runs/a1,runs/a2 mean=runs/m1,runs/m2 --output_dir runs/compared
    extrabert compare runs/para runs/para_mean --output_dir runs/compared --coverage 0.5 0.8
"""

from collections.abc import Sequence

from extrabert_hf.runs.comparison import compare_runs
from extrabert_hf.runs.sides import SIDE
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser([], prog="extrabert compare", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="SIDE", help=f"{SIDE}.")
    parser.add_argument("--output_dir", default="runs/compared", help="Folder for comparison.md, .csv, .tex and .png.")
    parser.add_argument("--task", help="Task to compare; by default all tasks that two sides share.")
    parser.add_argument(
        "--against",
        metavar="NAME",
        help="Side to compare all other sides with; by default every two sides are compared.",
    )
    parser.add_argument(
        "--coverage",
        type=float,
        nargs="+",
        default=(),
        metavar="C",
        help="Shares of the rows, above 0 to 1. For classes: also compare the accuracy of this share of the rows, the "
        "most confident ones of each run, and the area under the risk-coverage curve (AURC).",
    )
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    arguments = make_parser().parse_args(words)
    options = {"task": arguments.task, "against": arguments.against, "coverages": arguments.coverage}
    print(compare_runs(arguments.runs, arguments.output_dir, **options))

"""
Writes the report of a finished run, or of several runs side by side with paired tests: one HTML page with scores,
figures and a table of the worst errors. The figures are also written as PNG and SVG into a folder beside the page.

    extrabert report runs/sts
    extrabert report runs/sts mean=runs/sts_mean --output runs/both.html

Each training run writes its report to report.html.
"""

from collections.abc import Sequence

from extrabert_hf.runs.report import report_finished
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser([], prog="extrabert report", description=__doc__, loads_models=True)
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="FOLDER or NAME=FOLDER: output folder of a training run; its data must be unchanged.",
    )
    parser.add_argument("--output", help="Page to write; the default for a single run is report.html in its folder.")
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    arguments = make_parser().parse_args(words)
    print(report_finished(arguments.runs, arguments.output))

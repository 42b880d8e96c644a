"""
Scores a trained model, or an ensemble of several, on a labelled split, with 95 % intervals.

    extrabert evaluate runs/sts --data sample --split dev
    extrabert evaluate runs/para --data sample --target_accuracy 0.95 --figure risk_coverage.png
"""

from collections.abc import Sequence
from pathlib import Path

from extrabert_hf.runs.labelled_rows import LabelledRows, evaluate_saved
from extrabert_hf.training.arguments import ColumnArguments
from extrabert_hf.training.command_parser import CommandParser, add_bf16, add_int8


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser(
        [LabelledRows, ColumnArguments], prog="extrabert evaluate", description=__doc__, loads_models=True
    )
    parser.add_argument("model", help="Folder or Hub id; several, separated by commas, form an ensemble.")
    parser.add_argument("--task", help="Task of a multitask model.")
    parser.add_argument("--output", type=Path, help="JSON file to write the scores to.")
    parser.add_argument(
        "--target_accuracy",
        type=float,
        metavar="A",
        help="For classes: print the smallest P for predict --abstain_below with which the answered rows have this "
        "accuracy, 0 to 1.",
    )
    parser.add_argument("--figure", type=Path, help="For classes: .png or .svg to draw the risk-coverage curve to.")
    add_bf16(parser)
    add_int8(parser)
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    rows, columns, arguments = make_parser().parse_args_into_dataclasses(words)
    scores = evaluate_saved(
        arguments.model,
        rows,
        task=arguments.task,
        adjust_task=columns.apply_to,
        bf16=arguments.bf16,
        int8=arguments.int8,
        target_accuracy=arguments.target_accuracy,
        figure=arguments.figure,
        output=arguments.output,
    )
    print(scores)

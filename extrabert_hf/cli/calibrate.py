"""
Calibrates a trained model on labelled rows that it was not trained on.

    extrabert calibrate runs/para --data path/to/cs224n/data --output_dir runs/para_calibrated
    extrabert calibrate runs/sts --data path/to/cs224n/data --output_dir runs/sts_90 --coverage 0.9

The first command calibrates the probabilities of a classifier. The second one fits conformal prediction: intervals of
scores, or sets of classes, that hold the label with a probability of 0.9 or more.
"""

from collections.abc import Sequence
from pathlib import Path

from transformers.hf_argparser import string_to_bool

from extrabert_hf.models.conformal_extrabert import CLASS_METHODS, SCORE_METHODS
from extrabert_hf.runs.labelled_rows import LabelledRows, calibrate_saved
from extrabert_hf.sharing.repository_files import write_card
from extrabert_hf.training.arguments import ColumnArguments
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser(
        [LabelledRows, ColumnArguments], prog="extrabert calibrate", description=__doc__, loads_models=True
    )
    parser.add_argument("model", help="Folder or Hub id.")
    parser.add_argument("--task", help="Task of a multitask model; only the model of this task is written.")
    parser.add_argument("--output_dir", required=True, type=Path, help="Folder for the calibrated model.")
    parser.add_argument(
        "--allow_train_rows",
        type=string_to_bool,
        default=False,
        help="Calibrate on rows that the model was trained on, too.",
    )
    parser.add_argument(
        "--coverage",
        type=float,
        help="Fit prediction sets or intervals that hold the label with this probability, such as 0.9. The "
        "probabilities stay as they are.",
    )
    parser.add_argument(
        "--conformal_method",
        choices=[*CLASS_METHODS, *SCORE_METHODS],
        help="For classes: lac (the smallest sets, the default), aps (always with the predicted class), "
        "class_conditional (the coverage holds for each class). For scores: absolute (intervals of one width, the "
        "default), normalized (wider where errors are larger).",
    )
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    rows, columns, arguments = make_parser().parse_args_into_dataclasses(words)
    calibrate_saved(
        arguments.model,
        rows,
        arguments.output_dir,
        task=arguments.task,
        adjust_task=columns.apply_to,
        allow_train_rows=arguments.allow_train_rows,
        coverage=arguments.coverage,
        conformal_method=arguments.conformal_method,
    )
    write_card(arguments.output_dir)
    result = "calibration.json" if arguments.coverage is None else "its quantiles (`conformal` in config.json)"
    print(f"the calibrated model and {result} are in {arguments.output_dir}")

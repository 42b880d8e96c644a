"""
Calibrates the probabilities of a trained classifier on labelled rows that it was not trained on.

    extrabert calibrate runs/para --data path/to/cs224n/data --output_dir runs/para_calibrated
"""

from collections.abc import Sequence
from pathlib import Path

from transformers.hf_argparser import string_to_bool

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
    )
    write_card(arguments.output_dir)
    print(f"the calibrated model and calibration.json are in {arguments.output_dir}")

"""
Exports a trained model as ONNX with all heads, as a folder for sentence-transformers, as an ordinary class of
transformers, or as merged safetensors, and compares the export with the model on labelled rows. It needs the extra
`export`.

    extrabert export runs/sts --format onnx --int8 true --data sample --split dev
"""

from collections.abc import Sequence

from extrabert_hf.sharing.export import ExportArguments, run_export
from extrabert_hf.training.arguments import ColumnArguments
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser(
        [ExportArguments, ColumnArguments], prog="extrabert export", description=__doc__, loads_models=True
    )
    parser.add_argument("model", help="Folder or Hub id of a model trained with this package, or of its adapter.")
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    export, columns, arguments = make_parser().parse_args_into_dataclasses(words)
    table = run_export(arguments.model, export, adjust_task=columns.apply_to)
    if table is not None:
        print(table)

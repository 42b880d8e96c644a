"""
Predicts each sentence or pair of a file (csv, tsv, json, jsonl, parquet or txt) of any size, or of standard input.

    extrabert predict runs/sts pairs.csv --output predictions.csv
    extrabert predict runs/sts pairs.csv --output predictions.csv --num_processes 2
    extrabert predict runs/para pairs.csv --output predictions.csv --abstain_below 0.9

Several processes share the work. To continue an interrupted call, repeat the same command.
"""

import sys
from collections.abc import Sequence

from extrabert_hf.inference.prediction_file import predict_file
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.machine import join_processes
from extrabert_hf.training.arguments import ColumnArguments
from extrabert_hf.training.command_parser import CommandParser, add_bf16, add_int8, add_switch


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser(ColumnArguments, prog="extrabert predict", description=__doc__, loads_models=True)
    parser.add_argument("model", help="Folder or Hub id; several, separated by commas, form an ensemble.")
    parser.add_argument("--task", help="Task of a multitask model.")
    parser.add_argument(
        "input",
        help="File of sentences or pairs; - for standard input: a sentence a line, or two with a tab between them.",
    )
    parser.add_argument("--output", required=True, help="File to write: .csv, .tsv, .jsonl; - for standard output.")
    safe = "In csv and tsv, put ' before each cell that a spreadsheet program may run as a formula (= + - @)."
    add_switch(parser, "--csv_safe", safe)
    parser.add_argument(
        "--abstain_below",
        type=float,
        metavar="P",
        help="Leave the class of a row empty if its probability is below P, 0 to 1; evaluate --target_accuracy prints "
        "such a P.",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="Number of sentences in a batch.")
    add_bf16(parser)
    add_int8(parser)
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    columns, arguments = make_parser().parse_args_into_dataclasses(words)
    state = join_processes()  # gives each process its own device before a model is loaded
    options = {"batch_size": arguments.batch_size, "bf16": arguments.bf16, "int8": arguments.int8}
    predictor = Predictor.load(arguments.model, arguments.task, **options)
    task = columns.apply_to(predictor.task)
    table = {"csv_safe": arguments.csv_safe, "abstain_below": arguments.abstain_below}
    rows = predict_file(predictor, arguments.input, arguments.output, task=task, **table)
    if state.is_main_process:
        what = "predictions" if arguments.abstain_below is None else "rows"
        print(f"{rows:,} {what} in {arguments.output}", file=sys.stderr)

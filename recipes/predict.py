"""
Predicts each sentence or pair of a file (csv, tsv, json, jsonl, parquet, txt; - for standard input), of any size.

    python recipes/predict.py runs/sts pairs.csv --output predictions.csv
    accelerate launch recipes/predict.py runs/sts pairs.csv --output predictions.csv

Several processes share the file. A call that broke off goes on where it was.
"""

import sys

from extrabert_hf.console import recipe_console
from extrabert_hf.inference.prediction_file import predict_file
from extrabert_hf.inference.predictor import load_members
from extrabert_hf.machine import join_processes
from extrabert_hf.training.arguments import ColumnArguments
from extrabert_hf.training.recipe_parser import RecipeParser

if __name__ == "__main__":
    with recipe_console():
        parser = RecipeParser(ColumnArguments, description=__doc__)
        parser.add_argument("model", help="folder or Hub id; several, a comma between: their mean answer")
        parser.add_argument("--task", help="which task of a multitask model")
        parser.add_argument("input", help="file of sentences or pairs, - for standard input")
        parser.add_argument("--output", required=True, help="file ending in .csv or .jsonl, - for standard output")
        parser.add_argument("--batch_size", type=int, default=64, help="sentences encoded together")
        parser.add_argument("--bf16", action="store_true", help="encode in bfloat16: faster where the machine has it")
        columns, told = parser.parse_args_into_dataclasses()
        state = join_processes()  # each on its own device
        members, task = load_members(told.model, told.task)
        options = {"batch_size": told.batch_size, "bf16": told.bf16}
        rows = predict_file(members, columns.apply_to(task), told.input, told.output, **options)
        if state.is_main_process:
            print(f"{rows:,} predictions in {told.output}", file=sys.stderr)

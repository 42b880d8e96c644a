"""
Predicts each sentence or pair of a file (csv, tsv, json, jsonl, parquet or txt) of any size, or of standard input.

    python recipes/predict.py runs/sts pairs.csv --output predictions.csv
    accelerate launch recipes/predict.py runs/sts pairs.csv --output predictions.csv

Several processes share the work. To continue an interrupted call, repeat the same command.
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("predict", sys.argv[1:])

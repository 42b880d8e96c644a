"""
Predicts each sentence or pair of a file: the command `extrabert predict` as a script.

    python recipes/predict.py runs/sts pairs.csv --output predictions.csv
    accelerate launch recipes/predict.py runs/sts pairs.csv --output predictions.csv
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("predict", sys.argv[1:])

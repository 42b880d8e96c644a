"""
Scores a trained model, or an ensemble of several, on a labelled split: the command `extrabert evaluate` as a script.

    python recipes/evaluate_model.py runs/sts --data sample --split dev
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("evaluate", sys.argv[1:])

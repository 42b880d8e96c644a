"""
Calibrates the probabilities of a trained classifier: the command `extrabert calibrate` as a script.

    python recipes/calibrate.py runs/para --data path/to/cs224n/data --output_dir runs/para_calibrated
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("calibrate", sys.argv[1:])

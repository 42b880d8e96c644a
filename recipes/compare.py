"""
Compares finished runs of a task on the same dev rows: the command `extrabert compare` as a script.

    python recipes/compare.py runs/sts runs/sts_mean --output_dir runs/compared
    python recipes/compare.py attention=runs/a1,runs/a2 mean=runs/m1,runs/m2 --output_dir runs/compared
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("compare", sys.argv[1:])

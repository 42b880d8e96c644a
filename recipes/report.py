"""
Writes the report of finished runs: the command `extrabert report` as a script.

    python recipes/report.py runs/sts
    python recipes/report.py runs/sts mean=runs/sts_mean --output runs/both.html
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("report", sys.argv[1:])

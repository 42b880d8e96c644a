"""
Writes the report of a finished run, or of several runs side by side with paired tests: one HTML page with scores,
figures and a table of the worst errors. The figures are also written as PNG and SVG into a folder beside the page.

    python recipes/report.py runs/sts
    python recipes/report.py runs/sts mean=runs/sts_mean --output runs/both.html

Each training run writes its report to report.html.
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("report", sys.argv[1:])

"""
Writes the report of a finished run, or of several side by side with paired tests: scores, figures, and the worst
errors to sort and filter, in one page; what it draws as PNG and SVG beside it.

    python recipes/report.py runs/sts
    python recipes/report.py runs/sts mean=runs/sts_mean --output runs/both.html

Each training run leaves its own as report.html.
"""

from extrabert_hf.console import recipe_console
from extrabert_hf.runs.report import report_finished
from extrabert_hf.training.recipe_parser import RecipeParser

if __name__ == "__main__":
    with recipe_console():
        parser = RecipeParser([], description=__doc__)
        parser.add_argument(
            "runs",
            nargs="+",
            metavar="RUN",
            help="folder that a training recipe has left, its rows where they were; or NAME=FOLDER",
        )
        parser.add_argument("--output", help="page to write; by default report.html in the folder of a single run")
        told = parser.parse_args()
        print(report_finished(told.runs, told.output))

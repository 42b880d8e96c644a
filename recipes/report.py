"""
Writes the report of a finished run: scores, figures, and the worst errors to sort and filter, in one page.

    python recipes/report.py runs/sts --output report.html

Each training run leaves its own as report.html.
"""

from extrabert_hf.console import recipe_console
from extrabert_hf.training.command_line import RecipeParser
from extrabert_hf.training.reporting import report_finished

if __name__ == "__main__":
    with recipe_console():
        parser = RecipeParser([], description=__doc__)
        parser.add_argument("run", help="folder that a training recipe has left; its rows must be where they were")
        parser.add_argument("--output", help="page to write; by default report.html in the folder")
        told = parser.parse_args()
        print(report_finished(told.run, told.output))

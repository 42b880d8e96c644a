"""
Writes the report of a finished run, or of several runs side by side with paired tests: one HTML page with scores,
figures and a table of the worst errors. The figures are also written as PNG and SVG into a folder beside the page.

    python recipes/report.py runs/sts
    python recipes/report.py runs/sts mean=runs/sts_mean --output runs/both.html

Each training run writes its report to report.html.
"""

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    with recipe_console():
        from extrabert_hf.runs.report import report_finished
        from extrabert_hf.training.recipe_parser import RecipeParser

        parser = RecipeParser([], description=__doc__, loads_models=True)
        parser.add_argument(
            "runs",
            nargs="+",
            metavar="RUN",
            help="FOLDER or NAME=FOLDER: output folder of a training recipe; its data must be unchanged",
        )
        parser.add_argument(
            "--output", help="page to write; the default for a single run is report.html in its folder"
        )
        arguments = parser.parse_args()
        print(report_finished(arguments.runs, arguments.output))

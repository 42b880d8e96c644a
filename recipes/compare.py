"""
Compares finished runs of a task on the same dev rows: differences with intervals, and paired tests with Holm's
correction.

    python recipes/compare.py runs/sts runs/sts_mean --output_dir runs/compared
    python recipes/compare.py attention=runs/a1,runs/a2 mean=runs/m1,runs/m2 --output_dir runs/compared
"""

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    with recipe_console():
        from extrabert_hf.runs.comparison import SIDE, compare_runs
        from extrabert_hf.training.recipe_parser import RecipeParser

        parser = RecipeParser([], description=__doc__)
        parser.add_argument("runs", nargs="+", metavar="SIDE", help=SIDE)
        parser.add_argument(
            "--output_dir", default="runs/compared", help="folder for comparison.md, .csv, .tex and .png"
        )
        parser.add_argument("--task", help="task to compare; by default all tasks that two sides share")
        parser.add_argument(
            "--against",
            metavar="NAME",
            help="side to compare all other sides with; by default every two sides are compared",
        )
        arguments = parser.parse_args()
        print(compare_runs(arguments.runs, arguments.output_dir, task=arguments.task, against=arguments.against))

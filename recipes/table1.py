"""
Runs the unfinished rows of the paper's Table 1, then writes the table with confidence intervals and paired tests.

    accelerate launch recipes/table1.py --data sample --model_name_or_path minilm --num_train_epochs 1

Flags that are not listed here are passed to every run (see `python recipes/sft_sts.py --help`).
"""

from pathlib import Path

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    with recipe_console():
        from extrabert_hf.paper.runner import Table1Arguments, run_table1
        from extrabert_hf.training.recipe_parser import RecipeParser

        parser = RecipeParser(Table1Arguments, description=__doc__)
        arguments, flags = parser.parse_args_into_dataclasses(return_remaining_strings=True)
        print(run_table1(arguments, flags, Path(__file__).parent / "configs" / "table1"))

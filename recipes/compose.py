"""
Joins models of one task each, fine-tuned apart with --lora true, into one: one encoder, an adapter and a head a task.

    python recipes/compose.py runs/sst runs/para runs/sts --output_dir runs/composed
"""

from extrabert_hf.console import recipe_console
from extrabert_hf.sharing.composition import compose_runs
from extrabert_hf.training.recipe_parser import RecipeParser

if __name__ == "__main__":
    with recipe_console():
        parser = RecipeParser([], description=__doc__)
        parser.add_argument("folders", nargs="+", help="folders that training recipes have left")
        parser.add_argument("--output_dir", required=True, help="folder to write the joined model to")
        arguments = parser.parse_args()
        print(compose_runs(arguments.folders, arguments.output_dir), end="\n\n")
        print(f"the model is in {arguments.output_dir}, its tasks under --task of evaluate_model.py and predict.py")

"""
Combines models of one task each, fine-tuned separately with --lora true, into one model: one encoder, and an adapter
and a head for each task.

    python recipes/compose.py runs/sst runs/para runs/sts --output_dir runs/composed
"""

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    with recipe_console():
        from extrabert_hf.sharing.composition import compose_runs
        from extrabert_hf.training.recipe_parser import RecipeParser

        parser = RecipeParser([], description=__doc__, loads_models=True)
        parser.add_argument("folders", nargs="+", help="output folders of training recipes")
        parser.add_argument("--output_dir", required=True, help="folder for the combined model")
        arguments = parser.parse_args()
        print(compose_runs(arguments.folders, arguments.output_dir), end="\n\n")
        print(f"the model is in {arguments.output_dir}: select a task with --task in evaluate_model.py and predict.py")

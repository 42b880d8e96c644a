"""
Exports a trained model as ONNX with all heads, as a folder for sentence-transformers, or as merged safetensors, and
compares the export with the model on labelled rows. It needs the extra `export`.

    python recipes/export.py runs/sts --format onnx --int8 true --data sample --split dev
"""

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    with recipe_console():
        from extrabert_hf.sharing.export import ExportArguments, run_export
        from extrabert_hf.training.arguments import ColumnArguments
        from extrabert_hf.training.recipe_parser import RecipeParser

        parser = RecipeParser([ExportArguments, ColumnArguments], description=__doc__, loads_models=True)
        parser.add_argument("model", help="folder or Hub id of a model trained with this package, or of its adapter")
        export, columns, arguments = parser.parse_args_into_dataclasses()
        table = run_export(arguments.model, export, adjust_task=columns.apply_to)
        if table is not None:
            print(table)

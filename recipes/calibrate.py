"""
Calibrates the probabilities of a trained classifier on labelled rows that it was not trained on.

    python recipes/calibrate.py runs/para --data path/to/cs224n/data --output_dir runs/para_calibrated
"""

import json
from dataclasses import asdict
from pathlib import Path

from extrabert_hf.console import recipe_console
from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError, need_folder
from extrabert_hf.inference.calibration import calibrate_model
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.training.arguments import ColumnArguments
from extrabert_hf.training.recipe_parser import RecipeParser

if __name__ == "__main__":
    with recipe_console():
        parser = RecipeParser(ColumnArguments, description=__doc__, loads_models=True)
        parser.add_argument("model", help="folder or Hub id")
        parser.add_argument("--task", help="task of a multitask model; only the model of this task is written")
        parser.add_argument("--data", required=True, help="'sample', a folder, a file (all rows) or a Hub id")
        parser.add_argument("--dataset_config", help="configuration of a Hub data set")
        parser.add_argument("--split", default="dev", choices=["dev", "test"], help="rows not used in training")
        parser.add_argument("--output_dir", required=True, type=Path, help="folder for the calibrated model")
        columns, arguments = parser.parse_args_into_dataclasses()
        if arguments.output_dir.resolve() == Path(arguments.model).resolve():
            raise InputError(f"`output_dir` must be another folder than the model's, got {arguments.output_dir}.")
        need_folder("output_dir", arguments.output_dir)
        trained = load_model(arguments.model, arguments.task)
        task = columns.apply_to(trained.task)
        loaded = load_split(task, arguments.data, arguments.split, dataset_config=arguments.dataset_config)
        print(*loaded.notices, sep="\n")
        report = calibrate_model(trained, loaded.splits[arguments.split], progress=True)
        trained.save_pretrained(arguments.output_dir)
        path = arguments.output_dir / "calibration.json"
        path.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
        print(f"the calibrated model and {path.name} are in {arguments.output_dir}")

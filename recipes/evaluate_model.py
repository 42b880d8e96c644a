"""
Scores a trained model, or an ensemble of several, on a labelled split, with 95 % intervals.

    python recipes/evaluate_model.py runs/sts --data sample --split dev
"""

import json
from dataclasses import asdict
from pathlib import Path

from extrabert_hf.console import recipe_console
from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import need_place_for_file
from extrabert_hf.evaluation.scores import summarize
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.training.arguments import ColumnArguments
from extrabert_hf.training.recipe_parser import RecipeParser

if __name__ == "__main__":
    with recipe_console():
        parser = RecipeParser(ColumnArguments, description=__doc__, loads_models=True)
        parser.add_argument("model", help="folder or Hub id; several, separated by commas, form an ensemble")
        parser.add_argument("--task", help="task of a multitask model")
        parser.add_argument("--data", required=True, help="'sample', a folder, a file (all rows) or a Hub id")
        parser.add_argument("--dataset_config", help="configuration of a Hub data set")
        parser.add_argument("--split", default="dev", choices=["train", "dev", "test"], help="which rows")
        parser.add_argument("--output", help="JSON file to write the scores to")
        columns, arguments = parser.parse_args_into_dataclasses()
        if arguments.output is not None:
            need_place_for_file("output", Path(arguments.output))
        predictor = Predictor.load(arguments.model, arguments.task, progress=True)
        task = columns.apply_to(predictor.task)
        loaded = load_split(task, arguments.data, arguments.split, dataset_config=arguments.dataset_config)
        print(*loaded.notices, sep="\n")
        predictions = predictor.predict(loaded.splits[arguments.split])
        scores = predictions.score(train_labels=predictions.labels)
        print(summarize(f"{task.name} {arguments.split}", scores))
        print(f"(majority: the {'mean' if task.is_regression else 'most frequent'} label of these rows)")
        if arguments.output is not None:
            Path(arguments.output).write_text(json.dumps(asdict(scores), indent=2) + "\n", encoding="utf-8")

"""
Scores a trained model, or several as one, on a labelled split, with 95 % intervals.

    python recipes/evaluate_model.py runs/sts --data sample --split dev
"""

import json
from dataclasses import asdict
from pathlib import Path

from extrabert_hf.console import recipe_console
from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import need_place_for_file
from extrabert_hf.evaluation.scores import summarize
from extrabert_hf.inference.predictor import load_members, score_split
from extrabert_hf.training.arguments import ColumnArguments
from extrabert_hf.training.recipe_parser import RecipeParser

if __name__ == "__main__":
    with recipe_console():
        parser = RecipeParser(ColumnArguments, description=__doc__)
        parser.add_argument("model", help="folder or Hub id; several, a comma between: their mean answer")
        parser.add_argument("--task", help="which task of a multitask model")
        parser.add_argument("--data", required=True, help="'sample', a folder, a file (all of it) or a Hub id")
        parser.add_argument("--dataset_config", help="config name of a Hub data set")
        parser.add_argument("--split", default="dev", choices=["train", "dev", "test"], help="which rows")
        parser.add_argument("--output", help="JSON file to write the scores to")
        columns, arguments = parser.parse_args_into_dataclasses()
        if arguments.output is not None:
            need_place_for_file("output", Path(arguments.output))
        members, task = load_members(arguments.model, arguments.task)
        task = columns.apply_to(task)
        loaded = load_split(task, arguments.data, arguments.split, dataset_config=arguments.dataset_config)
        print(*loaded.notices, sep="\n")
        rows = loaded.splits[arguments.split]
        _, report = score_split(members, task, rows, train_labels=rows.with_format("numpy")["label"][:])
        print(summarize(f"{task.name} {arguments.split}", report))
        print("(majority: the most frequent label here)")
        if arguments.output is not None:
            Path(arguments.output).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")

"""
Compares the default settings for one's own rows with the paper's and with `configs/minilm`, on small data sets.

    python -m benchmarks.own_data runs/own
    python -m benchmarks.default_settings runs/own --course path/to/cs224n/data --output runs/defaults.json

Every run scores its last step on held-out rows, so that nothing is selected on them. Finished runs in `--output` are
not repeated. The table goes to the terminal.
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import set_seed

from benchmarks.own_data import OWN_DATA
from extrabert_hf.data.tokenization import limit_length
from extrabert_hf.evaluation.bootstrap import paired_bootstrap
from extrabert_hf.evaluation.metrics import FORMULAS, predictions_from_logits
from extrabert_hf.files import atomic_path, write_json
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.defaults import with_values_by_size
from extrabert_hf.training.finetune import build_trainer, load_rows, make_model
from extrabert_hf.training.setup import prepare_process

CONFIGS = Path(__file__).parents[1] / "recipes" / "configs"
ARMS = {"default": "default.yaml", "paper": "table1/sft_ma_cs.yaml", "minilm": "minilm/{}.yaml"}
COURSE_FILES = {"sst": "ids-sst", "para": "quora", "sts": "sts"}
LAST_STEP = ("--eval_strategy=no", "--save_strategy=no", "--load_best_model_at_end=false", "--disable_tqdm=true")
HELD_OUT = 500
"""Dev rows of a task of the paper that are scored."""


def write_course_rows(course: Path, folder: Path, train_rows: int) -> Path:
    """Writes train rows, drawn with seed 0, and the first dev rows of a task of the paper."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in {"train": "train", "dev": "heldout"}.items():
        with course.with_name(f"{course.name}-{split}.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t")
        if split == "train":
            rows = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))[:train_rows]]
        with atomic_path(folder / f"{name}.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(
                [header[1:], *(row[1:] for row in rows[: HELD_OUT if split == "dev" else None])]
            )
    return folder


def predict_held_out(recipe: str, words: list[str]) -> dict[str, list[float]]:
    """Trains a run and returns the predictions of its last step for the held-out rows, and the labels."""
    with tempfile.TemporaryDirectory() as folder:
        run = parse_run(recipe, [*words, *LAST_STEP, "--output_dir", folder])
        run = replace(run, training=prepare_process(run.training))
        set_seed(run.training.seed)
        loaded = load_rows(run)
        run = run.with_specs({name: rows.task for name, rows in loaded.items()})
        run, _ = with_values_by_size(run, loaded)
        model, tokenizer = make_model(run)
        limit_length(tokenizer, model, run.max_length)
        trainer = build_trainer(run, model, tokenizer, loaded)
        trainer.train()
        output = trainer.predict(trainer.eval_dataset)
    (task,) = run.specs.values()
    predictions = predictions_from_logits(task, output.predictions)
    values = {"predictions": predictions, "labels": output.label_ids}
    return {name: np.asarray(of_rows, float).tolist() for name, of_rows in values.items()}


def table(runs: Mapping[str, Mapping[str, Any]], arms: list[str]) -> str:
    """Returns a table in Markdown: the score of each setting, and the gain of the first one with its interval."""
    lines = [f"| rows | {' | '.join(arms)} | {' | '.join(f'{arms[0]} - {arm}' for arm in arms[1:])} | seeds |"]
    lines.append("| --- " * (len(arms) * 2 + 1) + "|")
    for name in dict.fromkeys(key.split("/")[0] for key in runs):
        of_arm = {arm: [run for key, run in runs.items() if key.split("/")[:2] == [name, arm]] for arm in arms}
        if not all(of_arm.values()):
            continue
        first = of_arm[arms[0]][0]
        labels, formula = np.array(first["labels"]), FORMULAS[first["metric"]]
        given = {arm: np.array([run["predictions"] for run in found]) for arm, found in of_arm.items()}
        scores = [np.mean([formula(row, labels, None) for row in given[arm]]) for arm in arms]
        gains = [paired_bootstrap(formula, given[arm], given[arms[0]], labels) for arm in arms[1:]]
        cells = [f"{score:.3f}" for score in scores]
        cells += [f"{gain.difference:+.3f} [{gain.low:.3f}, {gain.high:.3f}]" for gain in gains]
        lines.append(f"| {name} | {' | '.join(cells)} | {min(map(len, of_arm.values()))} |")
    return "\n".join(lines)


def main() -> None:
    """Trains the runs that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of `python -m benchmarks.own_data`")
    parser.add_argument("--course", type=Path, help="CS224N folder: also score the tasks of the paper")
    parser.add_argument("--rows", type=int, nargs="+", default=[200], help="train rows of the tasks of the paper")
    parser.add_argument("--sets", nargs="+", help="names of the sets; all by default")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help=f"settings of {list(ARMS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--flags", default="", help="further flags of every run, as one word")
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the predictions")
    arguments = parser.parse_args()
    sets = {name: (own.recipe, arguments.folder / name, list(own.flags)) for name, own in OWN_DATA.items()}
    for recipe, stem in COURSE_FILES.items() if arguments.course else ():
        for count in arguments.rows:
            folder = arguments.folder / f"{recipe}-{count}"
            sets[folder.name] = (recipe, write_course_rows(arguments.course / stem, folder, count), [])
    runs = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for seed in arguments.seeds:
        for name in arguments.sets or sets:
            recipe, folder, flags = sets[name]
            for arm in arguments.arms:
                if (key := f"{name}/{arm}/{seed}") in runs:
                    continue
                words = ["--config", str(CONFIGS / ARMS[arm].format(recipe))]
                words += [
                    "--model_name_or_path",
                    arguments.encoder,
                    "--data",
                    str(folder / "train.csv"),
                    "--dev_data",
                    str(folder / "heldout.csv"),
                    *flags,
                ]
                words += ["--seed", str(seed), *arguments.flags.split()]
                runs[key] = {"metric": PAPER_TASKS[recipe].metric} | predict_held_out(recipe, words)
                write_json(arguments.output, runs)
    print(table(runs, arguments.arms))  # noqa: T201


if __name__ == "__main__":
    main()

"""
Scores encoders without fine-tuning on the dev rows of STS and Quora: the cosine of mean-pooled sentence vectors.

    python -m benchmarks.cosine_baseline path/to/cs224n/data --encoders minilm mpnet

A pair of Quora is a paraphrase if its cosine is at least a threshold, the best one for the first 2,000 train rows.
"""

import argparse

import numpy as np
from datasets import Dataset

from extrabert_hf.data.loading import load_task_data
from extrabert_hf.evaluation.bootstrap import bootstrap_interval
from extrabert_hf.evaluation.metrics import FORMULAS
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.trainer_parts import prepare_model

THRESHOLD_ROWS = 2000
"""Train rows that the threshold is fitted to."""


def best_threshold(cosines: np.ndarray, labels: np.ndarray) -> float:
    """
    Returns the value at and above which the label 1 has the best accuracy.

    Example:
        >>> best_threshold(np.array([0.1, 0.9, 0.3, 0.8]), np.array([0, 1, 0, 1]))
        0.8
    """
    order = np.argsort(-cosines)
    right = np.cumsum(np.where(labels[order] == 1, 1, -1))
    is_last = np.diff(cosines[order], append=-np.inf) != 0  # of the rows with an equal cosine
    return float(cosines[order][is_last][right[is_last].argmax()])


def score(task: str, encoder: str, data: str) -> str:
    """Returns the dev score with its 95 % interval."""
    model, tokenizer = prepare_model(encoder, PAPER_TASKS["sts"], pooling="mean", similarity="cosine")

    def cosines_of(rows: Dataset) -> np.ndarray:  # times 5
        return predict_logits(model.eval(), tokenizer, rows["sentence1"][:], rows["sentence2"][:])[:, 0]

    splits = load_task_data(PAPER_TASKS[task], data).splits
    predictions, labels = cosines_of(splits["dev"]), np.array(splits["dev"]["label"])
    if task == "para":
        train = splits["train"].select(range(min(THRESHOLD_ROWS, len(splits["train"]))))
        threshold = best_threshold(cosines_of(train), np.array(train["label"][:]))
        predictions = (predictions >= threshold).astype(int)
    formula = FORMULAS[PAPER_TASKS[task].metric]
    low, high = bootstrap_interval(formula, predictions, labels)
    return f"{formula(predictions, labels, None):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Prints the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="CS224N folder")
    parser.add_argument("--encoders", nargs="+", default=["minilm", "mpnet"])
    arguments = parser.parse_args()
    for encoder in arguments.encoders:
        for task in ("sts", "para"):
            print(f"{encoder} {task}: {score(task, encoder, arguments.data)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

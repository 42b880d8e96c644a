"""Predictions in the form that the CS224N graders read."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from extrabert_hf.data.audit_report import AUDIT_FILE, findings, read_audit
from extrabert_hf.errors import InputError
from extrabert_hf.models import ExtraBertConfig
from extrabert_hf.runs.figures import (
    CONFLICTS_CAPTION,
    CURVES_CAPTION,
    plot_conflicts,
    plot_confusion,
    plot_curves,
    plot_scores,
)
from extrabert_hf.runs.gradient_conflicts import CONFLICTS_FILE, Conflict, read_conflicts
from extrabert_hf.tasks import TaskSpec

SHARED_ARGUMENTS = (
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "head_learning_rate",
    "per_device_train_batch_size",
    "max_tokens_per_batch",
    "gradient_accumulation_steps",
    "warmup_steps",
    "lr_scheduler_type",
    "weight_decay",
    "optim",
    "max_grad_norm",
    "r_drop",
    "label_balance",
    "seed",
    "length_buckets",
    "eval_strategy",
    "load_best_model_at_end",
    "metric_for_best_model",
)
"""Arguments of a run that say how it was trained, and nothing of the machine's folders."""

TEACHING_ARGUMENTS = ("distillation", "distillation_temperature")
"""The same of a run that had teachers."""


@dataclass(frozen=True)
class RunFolder:
    """
    A folder with a trained model.

    Args:
        path (`Path`):
            The folder; it holds a `config.json`. Without `metrics.json`, as where the model was saved by hand, there
            are no scores.
    """

    path: Path

    def __post_init__(self) -> None:
        whole = self.path.resolve().parent
        if re.fullmatch(r"checkpoint-\d+|adapter", self.path.resolve().name) and (whole / "config.json").is_file():
            raise InputError(f"`folder` must be a run's, got a part of it in {self.path}: take {self.path.parent}.")
        if not (self.path / "config.json").is_file():
            raise InputError(f"`folder` must hold a trained model with its config.json, got {self.path}.")
        if self.config.get("model_type") != ExtraBertConfig.model_type:
            kind = self.config.get("model_type")
            raise InputError(f"`folder` must hold a model of this package, got one of type {kind!r} in {self.path}.")

    @cached_property
    def config(self) -> dict[str, Any]:
        """What stands in `config.json`, without what the encoder was called where it was loaded."""
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        for part in (config, config.get("backbone_config") or {}):
            part.pop("_name_or_path", None)
        return config

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What of `metrics.json` can be shared; empty without it."""
        path = self.path / "metrics.json"
        if not path.is_file():
            return {}
        metrics = json.loads(path.read_text(encoding="utf-8"))
        for entry in metrics["tasks"].values():
            del entry["data"]
            del entry["model"]["model_name_or_path"]
        arguments = metrics.pop("arguments", {})
        names = SHARED_ARGUMENTS + (TEACHING_ARGUMENTS if arguments.get("teachers") else ())
        metrics["arguments"] = {name: arguments[name] for name in names if name in arguments}
        if arguments.get("teachers"):
            metrics["arguments"]["teachers"] = len(arguments["teachers"])  # their names may be paths
        return metrics

    @cached_property
    def max_length(self) -> int | None:
        """After how many tokens the tokenizer cuts a sentence off."""
        path = self.path / "tokenizer_config.json"
        return json.loads(path.read_text(encoding="utf-8")).get("model_max_length") if path.is_file() else None

    @cached_property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """By task, what `metrics.json` says of it."""
        return self.metrics.get("tasks", {})

    @cached_property
    def rejected(self) -> dict[str, int]:
        """Kinds of reasons for which rows were not used, the most frequent first, and how many rows each."""
        path = self.path / "rejected_rows.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return dict(Counter(_kind_of(json.loads(line)["reason"]) for line in lines).most_common())

    @cached_property
    def hub_encoder(self) -> str | None:
        """Hub id of the encoder that was fine-tuned, `None` for one from a folder."""
        models = [entry["model"] for entry in self.tasks.values()]
        names = {model["encoder"] for model in models if model["encoder_is_on_hub"]}
        return names.pop() if len(names) == 1 else None

    @cached_property
    def findings(self) -> list[str]:
        """What the audit of the rows has found, a line each."""
        path = self.path / AUDIT_FILE
        reports = read_audit(path) if path.is_file() else {}
        return [finding for report in reports.values() for finding in findings(report)]

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """The `log_history` of training."""
        path = self.path / "trainer_state.json"
        return json.loads(path.read_text(encoding="utf-8"))["log_history"] if path.is_file() else []

    @cached_property
    def conflicts(self) -> list[Conflict]:
        """How the tasks' gradients opposed each other, of a run of several tasks."""
        return read_conflicts(self.path / CONFLICTS_FILE)

    def draw_figures(self) -> dict[str, str]:
        """Draws what the run's files hold into `figures/`; gives each figure's caption by its path in the folder."""
        captions = {}
        (self.path / "figures").mkdir(exist_ok=True)
        for name, entry in self.tasks.items():
            for split in entry["scores"]:
                table = self.path / "scored" / f"{name}-{split}.csv"
                if table.is_file():
                    captions[f"figures/{name}-{split}.png"] = self._draw_answers(name, split, table)
        losses = [entry for entry in self.history if "loss" in entry]
        if losses:
            metrics = {name: entry["task"]["metric"] for name, entry in self.tasks.items()}
            plot_curves(self.history, metrics).savefig(self.path / "figures" / "training.png", dpi=120)
            captions["figures/training.png"] = CURVES_CAPTION
        if self.conflicts:
            plot_conflicts(self.conflicts).savefig(self.path / "figures" / "gradient_conflicts.png", dpi=120)
            captions["figures/gradient_conflicts.png"] = CONFLICTS_CAPTION
        return captions

    def _draw_answers(self, name: str, split: str, table: Path) -> str:
        with table.open(encoding="utf-8", newline="") as file:
            rows = [(float(row["label"]), float(row["prediction"])) for row in csv.DictReader(file)]
        labels, predictions = np.array(rows).T
        task = self.tasks[name]["task"]
        title = f"{name} {split}, {len(rows):,} rows"
        if task["head"] == "similarity":
            figure, caption = plot_scores(labels, predictions, task["label_range"], title), "predicted against label"
        else:
            figure, caption = plot_confusion(labels, predictions, task["class_names"], title), "confusion matrix"
        figure.savefig(self.path / "figures" / f"{name}-{split}.png", dpi=120)
        return f"{name} on {split}: {caption}"


def _kind_of(reason: str) -> str:
    """Gives a reason without the row's own words in it."""
    if re.fullmatch(r"(empty|no) \w+|text (stands|is also) in .*", reason):
        return reason
    return "a label that is none of the task's" if reason.startswith("label ") else "a line that can't be read"


def write_submission(path: Path, task: TaskSpec, ids: Iterable[str], predictions: np.ndarray) -> None:
    """
    Writes one line a row, `id , prediction`, under the course's header.

    Args:
        path (`Path`):
            File to write; its folder is made.
        task ([`TaskSpec`]):
            Its `course_header` names the second column.
        ids (`Iterable[str]`):
            The rows' ids.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids or scores.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"id \t {task.course_header} \n")
        file.writelines(f"{row_id} , {value} \n" for row_id, value in zip(ids, predictions.tolist(), strict=True))

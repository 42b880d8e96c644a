"""The public content of a trained model's folder: without local paths and without texts of the data."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig
from transformers.dynamic_module_utils import get_relative_import_files

from extrabert_hf.data.audit_report import findings, read_audit
from extrabert_hf.errors import InputError
from extrabert_hf.files import write_figure
from extrabert_hf.inference.calibration import CalibrationReport
from extrabert_hf.models import ExtraBertConfig
from extrabert_hf.models.encoder_code_extrabert import needed_code
from extrabert_hf.pretrained.adapters import ONE_TASK, saved_model_class
from extrabert_hf.pretrained.remote_code import code_references
from extrabert_hf.runs.class_figures import classes_caption, plot_confusion
from extrabert_hf.runs.figures import (
    CONFLICTS_CAPTION,
    CURVES_CAPTION,
    plot_conflicts,
    plot_curves,
    plot_scores,
)
from extrabert_hf.runs.folder import RunFolder, one_line_errors
from extrabert_hf.runs.run_metrics import RunMetrics, TaskMetrics, calibration_from_dict
from extrabert_hf.runs.scored import read_run
from extrabert_hf.tasks import PAPER_TASKS, check_task_name

DPI = 120
"""Resolution of the figures of a model card."""


@dataclass(frozen=True)
class SharedRun:
    """
    A trained model to share.

    Args:
        path (`Path`):
            Folder of a run, or of a model that `save_pretrained` wrote. A folder without metrics has no scores.

    Raises:
        [`InputError`]: if the folder has no model of this package, or is a checkpoint or the adapter of a run.
    """

    path: Path

    def __post_init__(self) -> None:
        if self.folder.containing_run is not None:
            raise InputError(
                f"`folder` must be the folder of a run, got a part of a run in {self.path}: use {self.path.parent}."
            )
        if not self.folder.config_file.is_file():
            raise InputError(f"`folder` must hold a trained model with its config.json, got {self.path}.")
        kind = self.config.get("model_type")
        if kind != ExtraBertConfig.model_type:
            raise InputError(f"`folder` must hold a model of this package, got one of type {kind!r} in {self.path}.")

    @property
    def folder(self) -> RunFolder:
        """The paths of the files in the folder."""
        return RunFolder(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's configuration without the path that its encoder was loaded from."""
        with one_line_errors(self.folder.config_file, "the configuration of a model"):
            config = json.loads(self.folder.config_file.read_text(encoding="utf-8"))
            for part in (config, config.get("backbone_config") or {}):
                part.pop("_name_or_path", None)
            for name in config.get("tasks") or {}:
                check_task_name(name)
        return config

    @cached_property
    def model_config(self) -> ExtraBertConfig:
        """The model's configuration with the present names of values; code of an encoder is not run."""
        encoder = self.config.get("backbone_config") or {}
        if needed_code(encoder) is None:
            return ExtraBertConfig.from_dict(self.config)
        return ExtraBertConfig.from_dict(self.config | {"backbone_config": PreTrainedConfig.from_dict(encoder)})

    @property
    def own_code(self) -> list[Path]:
        """The Python files that an encoder or a tokenizer with code of its own needs, beside those of this package."""
        with one_line_errors(self.folder.config_file, "the configuration of a model"):
            references = code_references(self.config.get("backbone_config") or {}, {})
        with one_line_errors(self.folder.tokenizer_config_file, "the configuration of a tokenizer"):
            references += code_references({}, self.tokenizer_config)
        files: dict[Path, None] = {}
        for reference in references:
            if "--" in reference:  # code of another repository, which is read from there
                continue
            file = self.path / f"{reference.partition('.')[0]}.py"
            if not file.is_file():
                raise InputError(f"`folder` must hold the code that its files need ({reference}), {file} is missing.")
            files |= dict.fromkeys([file, *map(Path, get_relative_import_files(str(file)))])
        return list(files)

    @cached_property
    def metrics(self) -> RunMetrics | None:
        """The metrics that can be shared; `None` for a folder without metrics."""
        return self.folder.read_metrics().shared() if self.folder.is_finished else None

    @property
    def tasks(self) -> dict[str, TaskMetrics]:
        """The results by task; empty for a folder without metrics."""
        return {} if self.metrics is None else self.metrics.tasks

    @cached_property
    def heads(self) -> dict[str, str]:
        """The head of each task by the task's name: `"sentiment"`, `"paraphrase"` or `"similarity"`."""
        if self.tasks:
            return {name: entry.task.head for name, entry in self.tasks.items()}
        if self.model_config.tasks:
            return {name: task["head"] for name, task in self.model_config.tasks.items()}
        head = saved_model_class(self.model_config, self.path, "`folder` must hold", ONE_TASK).head_kind
        paper_task = next(task.name for task in PAPER_TASKS.values() if task.head == head)
        return {self.model_config.task_name or paper_task: head}

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        """The configuration of the tokenizer; empty without a tokenizer."""
        path = self.folder.tokenizer_config_file
        with one_line_errors(path, "the configuration of a tokenizer"):
            return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    @property
    def max_length(self) -> int | None:
        """Maximum number of tokens of a sentence; `None` without a tokenizer."""
        return self.tokenizer_config.get("model_max_length")

    @property
    def tokenizer_has_code(self) -> bool:
        """Whether the tokenizer needs Python code of its own."""
        return "auto_map" in self.tokenizer_config

    @cached_property
    def rejected(self) -> dict[str, int]:
        """Number of rejected rows by the kind of reason, the most frequent kind first."""
        return dict(Counter(_kind_of(row.reason) for row in self.folder.read_rejected_rows()).most_common())

    @cached_property
    def hub_encoder(self) -> str | None:
        """Hub id of the pretrained encoder; `None` for an encoder from a local folder."""
        names = {entry.model.encoder for entry in self.tasks.values() if entry.model.encoder_is_on_hub}
        return names.pop() if len(names) == 1 else None

    @cached_property
    def findings(self) -> list[str]:
        """The findings of the data audit, one per line."""
        path = self.folder.audit_file
        with one_line_errors(path, "the audit of each task"):
            reports = read_audit(path) if path.is_file() else {}
            return [finding for report in reports.values() for finding in findings(report)]

    @cached_property
    def calibrations(self) -> dict[str, CalibrationReport]:
        """The calibration of each calibrated task by the task's name."""
        path = self.folder.calibration_file
        if self.tasks or not path.is_file():
            return {name: entry.calibration for name, entry in self.tasks.items() if entry.calibration}
        with one_line_errors(path, "the result of a calibration"):
            return dict.fromkeys(self.heads, calibration_from_dict(json.loads(path.read_text(encoding="utf-8"))))

    def draw_figures(self) -> dict[str, str]:
        """Draws the model card's figures; returns the caption of each figure by its path relative to the folder."""
        captions: dict[Path, str] = {}
        for name, entry in self.tasks.items():
            for split in entry.scores:
                if self.folder.scored_file(name, split).is_file():
                    captions[self.folder.predictions_figure(name, split)] = self._draw_predictions(entry, split)
        history, conflicts = self.folder.read_history(), self.folder.read_conflicts()
        if any("loss" in entry for entry in history):
            metrics = {name: entry.task.metric for name, entry in self.tasks.items()}
            write_figure(self.folder.curves_figure, plot_curves(history, metrics), dpi=DPI)
            captions[self.folder.curves_figure] = CURVES_CAPTION
        if conflicts:
            write_figure(self.folder.conflicts_figure, plot_conflicts(conflicts), dpi=DPI)
            captions[self.folder.conflicts_figure] = CONFLICTS_CAPTION
        return {path.relative_to(self.path).as_posix(): caption for path, caption in captions.items()}

    def _draw_predictions(self, entry: TaskMetrics, split: str) -> str:
        task = entry.task
        run = read_run(self.folder, task, seed=0, split=split)
        title = f"{task.name} {split}, {len(run.ids):,} rows"
        if task.is_regression:
            figure = plot_scores(run.labels, run.predictions, task.label_range, title)
            caption = "predicted against label"
        else:
            figure = plot_confusion(run.labels, run.predictions, task.class_names, title)
            caption = classes_caption("confusion matrix", len(task.class_names))
        write_figure(self.folder.predictions_figure(task.name, split), figure, dpi=DPI)
        return f"{task.name} on {split}: {caption}"


def _kind_of(reason: str) -> str:
    """Returns a reason for rejection without words of the row."""
    if re.fullmatch(r"(empty|no) \w+|text (is also|stands) in .*", reason):
        return reason
    return "a label that the task does not have" if reason.startswith("label ") else "a line that can't be read"

"""The layout of a run's folder: the names of all files, their contents, and whether the run is finished."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from extrabert_hf.data.reading import RejectedRow
from extrabert_hf.errors import InputError, one_line, shorten
from extrabert_hf.files import write_json
from extrabert_hf.manifest import remove_own
from extrabert_hf.runs.gradient_conflicts import Conflict, read_conflicts
from extrabert_hf.runs.records import BestScore, check_types, is_finite_number
from extrabert_hf.runs.run_metrics import RunMetrics

CHECKPOINT = r"checkpoint-\d+"
"""Pattern of the name of a checkpoint's folder."""

CARD_MARK = "<!-- Written by extrabert_hf from the run's files. Without this line a push leaves the card as it is. -->"
"""Line of each model card of this package. A card without it was written by hand and is never replaced."""


@dataclass(frozen=True)
class RunFolder:
    """
    The folder of a run: the path of each file and folder in it, and the files' contents.

    Args:
        path (`Path`):
            The folder. It may be missing.
    """

    path: Path

    METRICS: ClassVar[str] = "metrics.json"
    REPORT: ClassVar[str] = "report.html"
    CONFIG: ClassVar[str] = "config.json"
    TRAINER_STATE: ClassVar[str] = "trainer_state.json"
    ADAPTER: ClassVar[str] = "adapter"
    COMPLETE: ClassVar[str] = "complete"
    RUN_RECORD: ClassVar[str] = "run_record.json"
    LOSS_WEIGHTING: ClassVar[str] = "loss_weighting.json"

    @property
    def metrics_file(self) -> Path:
        """Scores, arguments and versions, see [`RunMetrics`]. A run is finished once this file exists."""
        return self.path / self.METRICS

    @property
    def report_file(self) -> Path:
        """A page with scores, figures and the worst errors."""
        return self.path / self.REPORT

    @property
    def audit_file(self) -> Path:
        """The result of [`audit`] for each task."""
        return self.path / "data_audit.json"

    @property
    def rejected_rows_file(self) -> Path:
        """The rows that were not used, one JSON object per line."""
        return self.path / "rejected_rows.jsonl"

    @property
    def rows(self) -> Path:
        """The folder of [`RunFolder.rows_file`]."""
        return self.path / "rows"

    def rows_file(self, split: str) -> Path:
        """Returns the path of a split's rows that a user passed in memory, one JSON object per line."""
        return self.rows / f"{split}.jsonl"

    @property
    def train_rows_file(self) -> Path:
        """Hashes of the train rows, see [`TrainRows`]."""
        return self.path / "train_rows.safetensors"

    @property
    def splits(self) -> Path:
        """The folder of [`RunFolder.split_file`]."""
        return self.path / "splits"

    def split_file(self, task: str, split: str) -> Path:
        """Returns the path of the rows, with the user's own columns, that became a split of a task."""
        return self.splits / f"{task}-{split}.csv"

    @property
    def trainer_state_file(self) -> Path:
        """The state of the `Trainer` at the end of training, with the log history. Each checkpoint has one too."""
        return self.path / self.TRAINER_STATE

    @property
    def conflicts_file(self) -> Path:
        """Cosines of the tasks' gradients at each step of a multitask run."""
        return self.path / "gradient_conflicts.csv"

    @property
    def calibration_file(self) -> Path:
        """The result of a calibration, in the folder of a model that was calibrated after its run."""
        return self.path / "calibration.json"

    @property
    def flags_file(self) -> Path:
        """The command-line flags of a run of a table."""
        return self.path / "flags.json"

    @property
    def words_file(self) -> Path:
        """The name of the study and the arguments of the run, in the folder of a trial of a search."""
        return self.path / "words.json"

    @property
    def config_file(self) -> Path:
        """The configuration of the trained model."""
        return self.path / self.CONFIG

    @property
    def weights_file(self) -> Path:
        """The weights of the trained model."""
        return self.path / "model.safetensors"

    @property
    def tokenizer_config_file(self) -> Path:
        """The configuration of the tokenizer."""
        return self.path / "tokenizer_config.json"

    @property
    def card_file(self) -> Path:
        """The model card, from this package or from the user, see [`has_own_card`]."""
        return self.path / "README.md"

    @property
    def has_own_card(self) -> bool:
        """Whether the folder has a model card of this package, which a run and a push may replace."""
        return self.card_file.is_file() and CARD_MARK in self.card_file.read_text(encoding="utf-8", errors="replace")

    @property
    def _own_card(self) -> list[Path]:
        return [self.card_file] if self.has_own_card else []

    @property
    def predictions(self) -> Path:
        """The folder of [`RunFolder.predictions_file`]."""
        return self.path / "predictions"

    def predictions_file(self, task: str, split: str) -> Path:
        """Returns the path of a split's predictions in the CS224N submission format."""
        return self.predictions / f"{task}-{split}.csv"

    @property
    def scored(self) -> Path:
        """The folder of [`RunFolder.scored_file`]."""
        return self.path / "scored"

    def scored_file(self, task: str, split: str) -> Path:
        """Returns the path of a labelled split's ids, lines, labels and predictions."""
        return self.scored / f"{task}-{split}.csv"

    def scored_files(self, task: str) -> list[Path]:
        """Returns the paths of the existing [`RunFolder.scored_file`] of a task, of every split."""
        return sorted(self.scored.glob(self.scored_file(task, "*").name))

    @property
    def adapter(self) -> Path:
        """The folder of the LoRA adapter."""
        return self.path / self.ADAPTER

    @property
    def best(self) -> Path:
        """The folder of [`RunFolder.best_of`]."""
        return self.path / "best"

    def best_of(self, task: str) -> Path:
        """Returns the folder of the model of a task's best evaluation, which `keep_best_per_task` keeps."""
        return self.best / task

    def best_score_file(self, task: str) -> Path:
        """Returns the path of the step and the score of a task's best evaluation."""
        return self.best_of(task) / "best.json"

    @property
    def figures(self) -> Path:
        """The folder of the model card's figures."""
        return self.path / "figures"

    @property
    def curves_figure(self) -> Path:
        """The training loss and the dev scores."""
        return self.figures / "training.png"

    @property
    def conflicts_figure(self) -> Path:
        """The cosines of [`RunFolder.conflicts_file`]."""
        return self.figures / "gradient_conflicts.png"

    def predictions_figure(self, task: str, split: str) -> Path:
        """Returns the path of the figure of a split's predictions."""
        return self.figures / f"{task}-{split}.png"

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished."""
        return self.metrics_file.is_file()

    @property
    def has_results(self) -> bool:
        """Whether the run is finished or can be resumed."""
        return self.is_finished or self.last_checkpoint is not None

    @property
    def checkpoints(self) -> list[Path]:
        """Folders of the checkpoints, the earliest first."""
        found = [path for path in self.path.glob("checkpoint-*") if re.fullmatch(CHECKPOINT, path.name)]
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))

    @property
    def complete_checkpoints(self) -> list[Path]:
        """Folders of the checkpoints that were written to the end, the earliest first."""
        return [path for path in self.checkpoints if (path / self.COMPLETE).is_file()]

    @property
    def last_checkpoint(self) -> Path | None:
        """The latest complete checkpoint; `None` if no checkpoint is complete."""
        return next(reversed(self.complete_checkpoints), None)

    @property
    def containing_run(self) -> Path | None:
        """The run whose checkpoint or adapter is this folder; `None` for any other folder."""
        path = self.path.resolve()
        is_part = path.name == self.ADAPTER or re.fullmatch(CHECKPOINT, path.name)
        return path.parent if is_part and (path.parent / self.CONFIG).is_file() else None

    def read_metrics(self) -> RunMetrics:
        """
        Reads the metrics, also in the form of an earlier version.

        Raises:
            [`InputError`]: if the file is missing, broken, or in the form of a later version.
        """
        with one_line_errors(self.metrics_file, "the metrics of a run"):
            text = self.metrics_file.read_text(encoding="utf-8")
            return RunMetrics.from_dict(json.loads(text, parse_constant=lambda _: None))  # NaN is not JSON

    def write_metrics(self, metrics: RunMetrics) -> None:
        """Writes the metrics. With this file the run is finished."""
        write_json(self.metrics_file, metrics.to_dict())

    def read_history(self) -> list[dict[str, float]]:
        """Reads the `log_history` of training; empty without the file. Values that are not numbers are left out."""
        with one_line_errors(self.trainer_state_file, "the state of a `Trainer`"):
            history = _read_json(self.trainer_state_file, {"log_history": []})["log_history"]
            entries = [{name: value for name, value in entry.items() if is_finite_number(value)} for entry in history]
        return [entry for entry in entries if "step" in entry]

    def read_rejected_rows(self) -> list[RejectedRow]:
        """Reads the rejected rows; empty without the file."""
        if not self.rejected_rows_file.is_file():
            return []
        with (
            one_line_errors(self.rejected_rows_file, "one rejected row a line"),
            self.rejected_rows_file.open(encoding="utf-8", newline="\n") as lines,  # also texts hold line separators
        ):
            rows = [RejectedRow(**json.loads(line)) for line in lines if line.strip()]
            for row in rows:
                check_types(row, RejectedRow, "")
            return rows

    def read_conflicts(self) -> list[Conflict]:
        """Reads the cosines of the tasks' gradients; empty without the file."""
        with one_line_errors(self.conflicts_file, "a step and two tasks a line"):
            return read_conflicts(self.conflicts_file)

    def read_best_score(self, task: str) -> BestScore | None:
        """Reads the step and the score of a task's best evaluation; `None` without the file."""
        with one_line_errors(self.best_score_file(task), "the step and the score of an evaluation"):
            record = _read_json(self.best_score_file(task), None)
            return None if record is None else BestScore.from_dict(record)

    def write_best_score(self, task: str, best: BestScore) -> None:
        """Writes the step and the score of a task's best evaluation."""
        write_json(self.best_score_file(task), best.to_dict())

    def read_flags(self) -> list[str]:
        """Reads the flags of a run of a table."""
        return json.loads(self.flags_file.read_text(encoding="utf-8"))

    def write_flags(self, flags: Sequence[str]) -> None:
        """Writes the flags of a run of a table."""
        write_json(self.flags_file, list(flags))

    def read_words(self) -> list[Any] | None:
        """Reads the name of the study and the arguments of a trial's run; `None` without the file."""
        return _read_json(self.words_file, None)

    def write_words(self, words: Sequence[Any]) -> None:
        """Writes the name of the study and the arguments of a trial's run."""
        write_json(self.words_file, words)

    def remove_checkpoints(self) -> None:
        """Removes all checkpoints; files that no run has written stay."""
        for path in self.checkpoints:
            remove_own(path)

    def remove_weights(self) -> None:
        """Removes the weights that a run has written, of the adapter too, the hashes of its rows, and its card."""
        for path in (self.adapter, self.best, self.weights_file, self.train_rows_file, *self._own_card):
            remove_own(path)

    def clear_results(self) -> None:
        """Removes the results of an earlier run that a new run in this folder might not write; other files stay."""
        self.remove_checkpoints()
        folders = (self.predictions, self.scored, self.splits, self.adapter, self.best, self.figures)
        for path in (self.metrics_file, self.conflicts_file, self.train_rows_file, *self._own_card, *folders):
            remove_own(path)


@contextmanager
def one_line_errors(file: Path, content: str) -> Iterator[None]:
    """Converts the errors of a file that is missing, broken or written by others to an [`InputError`]."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{file}: {shorten(str(error), 400)}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = shorten(f"{type(error).__name__}: {one_line(error)}")
        raise InputError(f"{file} must hold {content}, got {reason}.") from error


def _read_json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default

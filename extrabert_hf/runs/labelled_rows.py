"""Scores and calibrates saved models on labelled rows, after a search for the models' train rows among them."""

import logging
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from datasets import Dataset

from extrabert_hf.data.label_checks import refuse_other_range
from extrabert_hf.data.loading import LoadedData, load_split
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.scores import summarize
from extrabert_hf.evaluation.selective import (
    check_abstention,
    curve_text,
    risk_coverage,
    target_lines,
    threshold_for,
)
from extrabert_hf.files import atomic_folder, own_file, write_figure, write_json
from extrabert_hf.folder_lock import hold_folder
from extrabert_hf.inference.calibration import MIN_ROWS, CalibrationReport, calibrate_model
from extrabert_hf.inference.conformal import calibrate_coverage, check_coverage
from extrabert_hf.inference.predictor import Predictions, Predictor
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.pretrained.names import model_names, split_name
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.train_rows import copy_train_rows, find_overlap, rows_set_aside
from extrabert_hf.tasks import TaskSpec

MOST_LEFT_OUT = 0.1
"""Share of train rows up to which a calibration leaves them out. A larger share is an error."""

FIGURE_SUFFIXES = (".png", ".svg")
"""Suffixes of the figure of [`evaluate_saved`]."""

EXAMPLES = 3
"""Number of examples of a task in [`example_sentences`]."""
MOST_CHARACTERS = 200
"""Number of characters of the longest example."""
SEARCHED = 200
"""Number of rows among which the examples are chosen."""

logger = logging.getLogger(__name__)


@dataclass
class LabelledRows:
    """Labelled rows for a trained model."""

    _argument_group_name: ClassVar[str] = "rows"

    data: str | None = field(
        default=None,
        metadata={
            "help": "'sample', a folder, a file (all rows) or a Hub id. The default is the dev rows that the run cut "
            "off its train rows."
        },
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Name of the configuration of a Hub data set."})
    split: Literal["train", "dev", "test"] = field(
        default="dev", metadata={"help": "The split; a single file is used as a whole."}
    )
    max_rejected_share: float | None = field(
        default=None, metadata={"help": "Largest share of the rows, 0 to 1, that may be left out. The default is 0.1."}
    )

    def load(self, model: str, task: TaskSpec) -> tuple[str, Dataset, LoadedData]:
        """
        Loads the rows.

        Args:
            model (`str`):
                Folder or Hub id of the trained model.
            task ([`TaskSpec`]):
                The task.

        Returns:
            `tuple[str, Dataset, LoadedData]`: a title, the task with the split or the file; the rows; and the rows
            with the messages about them.

        Raises:
            [`InputError`]: as [`load_split`], and without `data` if the run has cut off no dev rows.
        """
        data, title = self.data, f"{task.name} {self.split}"
        if data is None:
            if self.split != "dev":
                raise InputError(f"`data` must be given for `split` {self.split!r}, got none.")
            file = rows_set_aside(model, task)
            if file is None:
                raise InputError(f"`data` must name labelled rows, got none, and {model} has set no dev rows aside.")
            data = str(file)
        elif Path(data).is_file():
            title = f"{task.name}, {Path(data).name}"
        loaded = load_split(
            task,
            data,
            self.split,
            dataset_config=self.dataset_config,
            max_rejected_share=self.max_rejected_share,
        )
        return title, loaded.splits[self.split], loaded


def evaluate_saved(
    models: str,
    rows: LabelledRows,
    *,
    task: str | None = None,
    adjust_task: Callable[[TaskSpec], TaskSpec],
    bf16: bool = False,
    int8: bool = False,
    target_accuracy: float | None = None,
    figure: Path | None = None,
    output: Path | None = None,
) -> str:
    """
    Scores a saved model or an ensemble on labelled rows.

    Args:
        models (`str`):
            As for [`Predictor.load`].
        rows ([`LabelledRows`]):
            The rows.
        task (`str`, *optional*):
            The task of a multitask model.
        adjust_task (`Callable`):
            Changes the task, such as its column names, before the rows are read.
        bf16 (`bool`, defaults to `False`):
            As for [`Predictor.load`].
        int8 (`bool`, defaults to `False`):
            As for [`Predictor.load`].
        target_accuracy (`float`, *optional*):
            For classes, the accuracy, 0 to 1, to choose a threshold for, see [`threshold_for`].
        figure (`Path`, *optional*):
            For classes, the file to draw the risk-coverage curve to, `.png` or `.svg`.
        output (`Path`, *optional*):
            JSON file to write the scores to, with the number of `train_rows` of each model among the rows, `null` if
            unknown. For classes it has `aurc` and `excess_aurc`, see [`RiskCoverage`], and with `target_accuracy` the
            `threshold`, see [`SelectivePoint`], `null` if the target is not reached.

    Returns:
        `str`: first, for each model, how many of the rows are its train rows; then the scores.

    Raises:
        [`InputError`]: for `target_accuracy` or `figure` if the model predicts scores, or for other values.
    """
    if figure is not None and figure.suffix not in FIGURE_SUFFIXES:
        raise InputError(f"`figure` must end in {' or '.join(FIGURE_SUFFIXES)}, got {str(figure)!r}.")
    with own_file("output", output), own_file("figure", figure):
        predictor, names = Predictor.load(models, task, bf16=bf16, int8=int8, progress=True), model_names(models)
        spec = adjust_task(predictor.task)
        for argument, value in (("target_accuracy", target_accuracy), ("figure", None if figure is None else 1.0)):
            if value is not None:
                check_abstention(argument, value, spec)
        title, dataset, loaded = rows.load(names[0], spec)
        overlaps = [find_overlap(name, spec, dataset) for name in names]
        if rows.data is None:  # the rows are those that were set aside: no other rows to name
            overlaps = [replace(overlap, set_aside=None) for overlap in overlaps]
        predictions = predictor.predict(dataset)
        scores = predictions.score(train_labels=predictions.labels)
        flags = [f"--{name}" for name, is_set in (("bf16", bf16), ("int8", int8)) if is_set]
        abstention, lines = ({}, []) if spec.is_regression else _abstention(predictions, target_accuracy, flags)
        if output is not None:
            train_rows = [None if overlap.in_train is None else overlap.count for overlap in overlaps]
            write_json(output, asdict(scores) | {"train_rows": train_rows} | abstention)
        if figure is not None:
            from extrabert_hf.runs.figures import plot_risk_coverage  # matplotlib is slow to import

            write_figure(figure, plot_risk_coverage(predictions), dpi=150)
            lines.append(f"figure in {figure}")
    majority = f"(majority: the {'mean' if spec.is_regression else 'most frequent'} label of these rows)"
    return "\n".join([*map(str, overlaps), *loaded.notices, summarize(title, scores, spec), majority, *lines])


def _abstention(
    predictions: Predictions, target_accuracy: float | None, predict_flags: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the entries of the JSON file and the lines of text on the abstention of a classifier."""
    confidences, correct = predictions.confidences, predictions.values == predictions.labels
    curve = risk_coverage(confidences, correct)
    entries: dict[str, Any] = {"aurc": curve.aurc, "excess_aurc": curve.excess_aurc}
    if target_accuracy is None:
        return entries, [curve_text(curve)]
    point = threshold_for(curve, target_accuracy)
    entries |= {"target_accuracy": target_accuracy, "threshold": None if point is None else asdict(point)}
    return entries, [curve_text(curve), *target_lines(confidences, correct, target_accuracy, predict_flags)]


def calibrate_saved(
    model: str,
    rows: LabelledRows,
    output_dir: Path,
    *,
    task: str | None = None,
    adjust_task: Callable[[TaskSpec], TaskSpec],
    allow_train_rows: bool = False,
    coverage: float | None = None,
    conformal_method: str | None = None,
) -> CalibrationReport | None:
    """
    Calibrates a saved model on labelled rows and saves the result as another model.

    The folder has the result in `calibration.json`, or with `coverage` in the `conformal` of `config.json`.

    Args:
        model (`str`):
            Folder or Hub id of the model.
        rows ([`LabelledRows`]):
            The rows.
        output_dir (`Path`):
            Folder for the calibrated model.
        task (`str`, *optional*):
            The task of a multitask model.
        adjust_task (`Callable`):
            Changes the task, such as its column names, before the rows are read.
        allow_train_rows (`bool`, defaults to `False`):
            Whether to calibrate on train rows of the model too.
        coverage (`float`, *optional*):
            Fits prediction sets or intervals as [`calibrate_coverage`]; the weights stay as they are.
        conformal_method (`str`, *optional*):
            The method of the sets or intervals.

    Returns:
        [`CalibrationReport`]: `None` with `coverage`.

    Raises:
        [`InputError`]: as [`calibrate_model`], [`calibrate_coverage`] or [`refuse_other_range`], and if more than a
            tenth of the rows are train rows of the model.
    """
    if coverage is None and conformal_method is not None:
        raise InputError(f"`conformal_method` {conformal_method!r} needs --coverage, such as --coverage 0.9.")
    if output_dir.resolve() == Path(model).resolve():
        raise InputError(f"`output_dir` must be another folder than the model's, got {output_dir}.")
    if rows.split == "train" and not allow_train_rows:
        raise InputError("`split` must be 'dev' or 'test' to calibrate, got 'train' without --allow_train_rows true.")
    with hold_folder("output_dir", output_dir), atomic_folder(output_dir) as folder:
        trained = load_model(model, task)
        spec = adjust_task(trained.task)
        if coverage is not None:
            check_coverage(coverage, conformal_method, spec)
        title, dataset, loaded = rows.load(model, spec)
        if spec.is_regression:
            refuse_other_range(dataset["label"][:], spec, title)
        for notice in loaded.notices:
            logger.info(notice)
        if not allow_train_rows:
            dataset = without_train_rows(model, spec, dataset, set_aside=rows.data is None)
        if len(dataset) < MIN_ROWS and not spec.is_regression and coverage is None:
            raise InputError(
                f"`data` must have {MIN_ROWS} labelled rows or more to calibrate, got {len(dataset)}: give a "
                "file with more rows that the model was not trained on."
            )
        report = None
        if coverage is None:
            report = calibrate_model(trained, dataset, progress=True)
            write_json(RunFolder(folder).calibration_file, asdict(report))
        else:
            calibrate_coverage(trained, dataset, coverage, conformal_method, progress=True)
            if RunFolder(Path(model)).calibration_file.is_file():  # of the probabilities, which stay as they are
                shutil.copyfile(RunFolder(Path(model)).calibration_file, RunFolder(folder).calibration_file)
        trained.save_pretrained(folder)
        copy_train_rows([model], RunFolder(output_dir))
        return report


def example_sentences(models: Sequence[str]) -> list[list[str]]:
    """
    Chooses sentences of the dev rows of finished runs, as examples for a demo.

    Args:
        models (`Sequence[str]`):
            Each word is `MODEL` or `NAME=MODEL`. A Hub id, and a run whose dev rows are not in local files any more,
            have no examples.

    Returns:
        `list[list[str]]`: two sentences each, the second one empty for single sentences; at most [`EXAMPLES`] of a
        task, with different labels where possible.
    """
    by_task: dict[str, list[list[str]]] = {}
    for folder in (split_name(word)[1] for word in models):
        run = RunFolder(Path(folder))
        if not run.is_finished:
            continue
        for name, entry in run.read_metrics().tasks.items():
            sources = [] if entry.data is None else [entry.data.dev_data, entry.data.data]
            found = [str(each) for each in (rows_set_aside(folder, entry.task), *sources) if each is not None]
            data = next((each for each in found if each == "sample" or Path(each).exists()), None)
            if name not in by_task and data is not None:
                try:
                    rows = load_split(entry.task, data, "dev", max_rejected_share=1.0).splits["dev"]
                except InputError as error:
                    logger.info("no examples from the dev rows of %s: %s", folder, error)
                    continue
                by_task[name] = _different_rows(entry.task, rows)
    return [example for examples in by_task.values() for example in examples]


def _different_rows(task: TaskSpec, rows: Dataset) -> list[list[str]]:
    columns = [rows[column][:] for column in task.sentence_columns]
    by_label: dict[int, list[str]] = {}
    others: list[list[str]] = []
    labels = rows["label"][:]
    for row in np.random.default_rng(0).permutation(len(rows))[:SEARCHED].tolist():
        sentences = [column[row] for column in columns]
        if max(map(len, sentences)) <= MOST_CHARACTERS:
            example = [*sentences, *[""] * (2 - len(sentences))]
            if by_label.setdefault(round(labels[row]), example) is not example:
                others.append(example)
    return [*by_label.values(), *others][:EXAMPLES]


def without_train_rows(
    model: str, task: TaskSpec, rows: Dataset, *, set_aside: bool, otherwise: str = "--allow_train_rows true"
) -> Dataset:
    """
    Leaves out the train rows of a model.

    Args:
        model (`str`):
            Folder or Hub id of the model.
        task ([`TaskSpec`]):
            The task.
        rows (`Dataset`):
            Rows as for [`find_overlap`].
        set_aside (`bool`):
            Whether the rows are the dev split that the run of the model cut off.
        otherwise (`str`, *optional*):
            The end of the error: what to give instead of other rows.

    Raises:
        [`InputError`]: if more than a tenth of the rows are train rows of the model.
    """
    overlap = find_overlap(model, task, rows)
    if overlap.count > MOST_LEFT_OUT * len(rows):
        other = "" if set_aside or overlap.set_aside is None else f"--data {shlex.quote(str(overlap.set_aside))}, or "
        raise InputError(
            f"`data` must be rows that {model} was not trained on, got {overlap.count:,} train rows of {len(rows):,}: "
            f"give {other}{otherwise}."
        )
    if not overlap.count:
        logger.log(logging.WARNING if overlap.in_train is None else logging.INFO, "%s", overlap)
        return rows
    logger.warning("%s of %s rows are train rows of %s and are left out", overlap.count, len(rows), model)
    return rows.select(np.flatnonzero(~overlap.in_train))

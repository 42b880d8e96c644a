"""The search for wrong labels: predictions by models that were not trained on the rows, and the rows they doubt."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np
from datasets import ClassLabel, Dataset

from extrabert_hf.data.auditing import text_keys
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.label_doubts import need_cleanlab
from extrabert_hf.evaluation.metrics import ConstantInputWarning
from extrabert_hf.inference.predictor import Predictions, Predictor
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.pretrained.remote_code import is_code_trusted
from extrabert_hf.runs.label_errors import LabelErrors
from extrabert_hf.runs.labelled_rows import LabelledRows, without_train_rows
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.argument_checks import changed_fields, check_number
from extrabert_hf.training.one_call import finetune

logger = logging.getLogger(__name__)


@dataclass
class LabelErrorArguments:
    """The search for labels that are probably wrong."""

    _argument_group_name: ClassVar[str] = "label errors"

    find_label_errors: bool = field(
        default=False,
        metadata={
            "help": "List the rows whose label is probably wrong, by models that were not trained on them: one "
            "model a fold of the rows, or --model."
        },
    )
    output: str = field(
        default="label_errors.csv",
        metadata={"help": "File for these rows, ends in .csv. A page with the ending .html is beside it."},
    )
    csv_safe: bool = field(
        default=False,
        metadata={
            "help": "In the csv file, put ' before each cell that a spreadsheet program may run as a formula "
            "(= + - @)."
        },
    )
    split: Literal["train", "dev", "test"] | None = field(
        default=None,
        metadata={
            "help": "The split to search; a single file is searched as a whole. The default is train, and with "
            "--model dev."
        },
    )
    model: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of a trained model that predicts the rows. Rows that it was trained on are "
            "refused, or left out if they are few. The default is to train a model for each fold."
        },
    )
    model_task: str | None = field(default=None, metadata={"help": "Task of a multitask --model."})
    folds: int = field(
        default=5,
        metadata={
            "help": "Number of parts of the rows, 2 or more: the rows of each part are predicted by a model that is "
            "trained on the others."
        },
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Encoder of the models of the folds. The default is that of extrabert train."}
    )
    config: str | None = field(
        default=None,
        metadata={
            "help": "YAML file of the training of the folds. The default is that of extrabert train for own data."
        },
    )

    def __post_init__(self) -> None:
        check_number("folds", self.folds, "[2, inf)", is_whole=True)
        if Path(self.output).suffix != ".csv":
            raise InputError(f"`output` must end in .csv, got {self.output!r}.")
        if self.model is not None and (self.model_name_or_path is not None or self.config is not None):
            raise InputError(
                "`model` can't be combined with `model_name_or_path` and `config`: they train other models."
            )
        if not self.find_label_errors and (changed := changed_fields(self)):
            raise InputError(f"`{changed[0]}` is for --find_label_errors, got it without.")
        if self.model is None and self.model_task is not None:
            raise InputError("`model_task` is the task of `model`, got it without.")
        if self.model is not None and self.folds != LabelErrorArguments.folds:
            raise InputError("`folds` is for models that the search trains, got it with `model`.")


def find_label_errors(
    arguments: LabelErrorArguments, rows: LabelledRows, task: TaskSpec, trained: TrainedModel | None = None
) -> LabelErrors:
    """
    Finds the rows whose label is probably wrong. Warnings about the rows are not logged: an audit logs them.

    Args:
        arguments ([`LabelErrorArguments`]):
            How to predict the rows.
        rows ([`LabelledRows`]):
            The rows.
        task ([`TaskSpec`]):
            The task of the rows, of the given model if there is one.
        trained ([`TrainedModel`], *optional*):
            The model `arguments.model`; without it, a model is trained for each fold.

    Raises:
        [`InputError`]: for rows or arguments that cannot be used, and if a row in ten is a train row of the model.
    """
    if not task.is_regression:
        need_cleanlab()  # before minutes of training
    with _messages_from(logging.ERROR):
        title, dataset, loaded = rows.load(arguments.model or "", task)
    for notice in loaded.notices:
        logger.info(notice)
    if trained is None:
        predictor = f"Each row is predicted by a model that was trained on the other folds, {arguments.folds} folds."
        return LabelErrors.of(title, predictor, predict_folds(dataset, loaded.task, arguments))
    otherwise = "no --model: then models are trained for the search"
    dataset = without_train_rows(arguments.model, task, dataset, set_aside=False, otherwise=otherwise)
    predictions = Predictor((trained,), progress=True).predict(dataset)
    return LabelErrors.of(title, f"The rows are predicted by the model {arguments.model}.", predictions)


def predict_folds(rows: Dataset, task: TaskSpec, arguments: LabelErrorArguments) -> Predictions:
    """
    Predicts each row by a model that is trained on the rows of the other folds, see [`folds_of`].

    A model is trained as by [`finetune`], which takes its dev rows from the rows of the other folds. The models are
    deleted after their predictions.

    Args:
        rows (`Dataset`):
            `N` labelled rows, as in [`LoadedData`].
        task ([`TaskSpec`]):
            The task of the rows.
        arguments ([`LabelErrorArguments`]):
            Number of folds, encoder and YAML.
    """
    fold_of = folds_of(text_keys(rows), np.asarray(rows["label"][:]), arguments.folds)
    logits: np.ndarray | None = None
    for fold in range(arguments.folds):
        others, held_out = rows.select(np.flatnonzero(fold_of != fold)), rows.select(np.flatnonzero(fold_of == fold))
        logger.info(
            *("fold %s of %s: training on %s rows, predicting %s", fold + 1, arguments.folds),
            *(f"{len(others):,}", f"{len(held_out):,}"),
        )
        with TemporaryDirectory(prefix="extrabert-fold-") as folder, _messages_from(logging.WARNING):
            run = finetune(_train_rows(others, task), output_dir=folder, **_settings(task, arguments))
            found = run.predictor.predict(held_out)
        if logits is None:
            logits = np.empty((len(rows), found.logits.shape[1]), found.logits.dtype)
        logits[fold_of == fold] = found.logits
    columns = [rows[name][:] for name in task.sentence_columns]
    return Predictions(
        task=task,
        ids=rows["id"][:],
        sentences=list(zip(*columns, strict=True)),
        logits=logits,
        labels=np.asarray(rows["label"][:]),
        lines=rows["line"][:],
    )


def folds_of(keys: Sequence[Any], labels: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """
    Draws a fold for each of `N` rows. Rows with the same key are in one fold, and the labels of the folds are alike.

    Args:
        keys (`Sequence`):
            `N` keys, such as those of [`text_keys`]: a model must not be trained on the text that it predicts.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids or scores. The numbers of a class's keys in two folds differ by at most 1.
        folds (`int`):
            Number of folds, 2 or more.
        seed (`int`, defaults to 0):
            Seed of the draw.

    Returns:
        `np.ndarray` of shape `(N,)`: the folds, 0 to `folds - 1`.

    Raises:
        [`InputError`]: if there are fewer different keys than folds.

    Example:
        >>> folds_of(["a", "b", "a", "c"], np.array([0, 1, 0, 0]), 2).tolist()
        [1, 0, 1, 0]
    """
    first_rows: dict[Any, int] = {}
    for row, key in enumerate(keys):
        first_rows.setdefault(key, row)
    if len(first_rows) < folds:
        raise InputError(f"`folds` must be at most the number of different texts, {len(first_rows)}, got {folds}.")
    drawn = np.random.default_rng(seed).permutation(np.fromiter(first_rows.values(), dtype=int))
    drawn = drawn[np.argsort(labels[drawn], kind="stable")]
    fold_of_first = dict(zip(drawn.tolist(), (np.arange(len(drawn)) % folds).tolist(), strict=True))
    return np.array([fold_of_first[first_rows[key]] for key in keys])


def _train_rows(rows: Dataset, task: TaskSpec) -> Dataset:
    """Returns the sentences and labels; classes as `ClassLabel`s, so that all models have the same class ids."""
    rows = rows.select_columns([*task.sentence_columns, "label"])
    return rows if task.is_regression else rows.cast_column("label", ClassLabel(names=list(task.class_names)))


def _settings(task: TaskSpec, arguments: LabelErrorArguments) -> dict[str, Any]:
    scores = {"label_min": task.label_range[0], "label_max": task.label_range[1]} if task.is_regression else {}
    return scores | {
        "head": task.head,
        "config": arguments.config,
        "model_name_or_path": arguments.model_name_or_path,
        "trust_remote_code": is_code_trusted(),
    }


@contextmanager
def _messages_from(level: int) -> Iterator[None]:
    """
    Hides the messages of this package below a level inside a `with` block, unless all messages are shown, and the
    warnings about undefined metrics: a fold's few dev rows are scored, but the scores are not shown.
    """
    package = logging.getLogger("extrabert_hf")
    before = package.level
    if package.getEffectiveLevel() > logging.DEBUG:
        package.setLevel(max(before, level))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConstantInputWarning)
            yield
    finally:
        package.setLevel(before)

"""A file of sentences or pairs in, a file of predictions out, with bounded memory."""

import csv
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
from scipy.special import softmax
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.loading import stream_sentences
from extrabert_hf.data.reading import RejectedRow
from extrabert_hf.data.validation import write_rejected_rows
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.evaluation.scoring import predict_logits
from extrabert_hf.models import ExtraBertPreTrainedModel
from extrabert_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)

ROWS_AT_A_TIME = 20_000
"""Rows in memory together: enough to sort by length and to meet repeated sentences."""


class _Writer(Protocol):
    def writerow(self, row: dict[str, Any]) -> object: ...


def predict_file(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: TaskSpec,
    source: str,
    output: str,
    *,
    batch_size: int = 64,
) -> int:
    """
    Predicts each row of a file and writes it with its prediction, in the file's order.

    A class comes as `prediction` (its id), `label` (its name) and one probability a class, `p_<name>`, 0 to 1; a score
    as `prediction`, in the units of the training labels. Rows without text are left out, counted, and written with
    their reason to `<output without its ending>.rejected.jsonl`.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            What [`load_model`] gives, with `tokenizer` and `task`.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        task ([`TaskSpec`]):
            The model's; it may name the file's columns.
        source (`str`):
            File as [`read_rows`] takes it; `"-"` is standard input, one sentence (or two, tab between) a line.
        output (`str`):
            File ending in `.csv` or `.jsonl`, written under `<output>.part` until it is whole; `"-"` is standard
            output, as jsonl.
        batch_size (`int`, defaults to 64):
            Sentences encoded together.

    Returns:
        `int`: the rows predicted.

    Raises:
        [`InputError`]: if the file, a column or the output's ending can't be used.
    """
    if output != "-" and Path(source).resolve() == Path(output).resolve():
        raise InputError(f"`output` must be another file than the input, got {output!r} for both.")
    rejected: list[RejectedRow] = []
    rows = (row for _, row in stream_sentences(task, source, rejected))
    written = 0
    with _open_writer(output, task) as writer, tqdm(desc="rows", unit=" rows") as bar:
        while part := list(islice(rows, ROWS_AT_A_TIME)):
            sentences2 = [row["sentence2"] for row in part] if task.is_pair else None
            logits = predict_logits(
                model, tokenizer, [row["sentence1"] for row in part], sentences2, batch_size=batch_size, progress=True
            )
            for row, prediction in zip(part, _predictions(task, logits), strict=True):
                writer.writerow({"id": row["id"], **row, **prediction})
            written += len(part)
            bar.update(len(part))
    if rejected:
        path = Path("standard_output" if output == "-" else output).with_suffix(".rejected.jsonl")
        write_rejected_rows(path, rejected)
        logger.info(
            "%s of %s rows have no prediction, see %s", f"{len(rejected):,}", f"{written + len(rejected):,}", path
        )
    return written


def _predictions(task: TaskSpec, logits: np.ndarray) -> Iterator[dict[str, Any]]:
    predictions = predictions_from_logits(task, logits).tolist()
    if task.is_regression:
        yield from ({"prediction": round(score, 4)} for score in predictions)
        return
    columns = _probability_columns(task)
    for prediction, probabilities in zip(
        predictions, softmax(logits.astype(np.float64), axis=-1).round(4).tolist(), strict=True
    ):
        named = dict(zip(columns, probabilities, strict=True))
        yield {"prediction": prediction, "label": task.class_names[prediction], **named}


def _probability_columns(task: TaskSpec) -> list[str]:
    return [f"p_{name.replace(' ', '_')}" for name in task.class_names]


@contextmanager
def _open_writer(output: str, task: TaskSpec) -> Iterator[_Writer]:
    if output == "-":
        yield _JsonLines(sys.stdout)
        return
    path = Path(output)
    if path.suffix not in (".csv", ".jsonl"):
        raise InputError(f"`output` must end in .csv or .jsonl, or be '-', got {output!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            yield _JsonLines(file)
        else:
            sentences = ["sentence1", "sentence2"] if task.is_pair else ["sentence1"]
            classes = [] if task.is_regression else ["label", *_probability_columns(task)]
            writer = csv.DictWriter(file, ["id", *sentences, "prediction", *classes])
            writer.writeheader()
            yield writer
    part.replace(path)


class _JsonLines:
    def __init__(self, file: TextIO) -> None:
        self.file = file

    def writerow(self, row: dict[str, Any]) -> None:
        self.file.write(json.dumps(row, ensure_ascii=False) + "\n")

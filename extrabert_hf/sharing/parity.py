"""Compares exported forms of a model with the model on labelled rows: predictions, scores, size and speed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.evaluation.scores import SplitScores, interval_text, score
from extrabert_hf.models import ExtraBertForSimilarity
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.sharing.onnx_export import run_session
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.terminal import markdown_rows

BATCH_SIZE = 32

Columns = Sequence[Sequence[str]]
"""The sentences of N rows: one column of N sentences, or two columns for pairs."""


@dataclass(frozen=True)
class Outputs:
    """
    The outputs of a model for N rows.

    Args:
        logits (`np.ndarray` of shape `(N, C)`):
            The logits.
        embeddings (`np.ndarray` of shape `(N, d)` or `(N, 2, d)`, *optional*):
            The sentence vectors, see [`embed`]; `None` for a cross-encoder, or if they have another length.
    """

    logits: np.ndarray
    embeddings: np.ndarray | None = None


@dataclass(frozen=True)
class Variant:
    """
    One form of a model.

    Args:
        name (`str`):
            Such as `"onnx int8"`.
        predict (`Callable`):
            Maps the columns of N rows to their [`Outputs`].
        size (`int`):
            Size of the weights in bytes.
    """

    name: str
    predict: Callable[[Columns], Outputs]
    size: int


@dataclass(frozen=True)
class Difference:
    """
    Absolute difference of two arrays.

    Args:
        max (`float`):
            The largest difference of two elements, 0 or more.
        mean (`float`):
            The mean difference, 0 or more.
    """

    max: float
    mean: float


@dataclass(frozen=True)
class ParityEntry:
    """
    One variant of a model on the labelled rows of a task, compared with the first variant.

    Args:
        variant (`str`):
            Name of the variant.
        task (`str`):
            Name of the task.
        rows (`int`):
            Number of rows.
        logit_difference ([`Difference`], *optional*):
            Difference from the logits of the first variant; `None` for the first variant.
        prediction_difference ([`Difference`], *optional*):
            The same for the predicted class ids or scores.
        embedding_difference ([`Difference`], *optional*):
            The same for the numbers of the sentence vectors; `None` also without such vectors.
        same_class (`float`, *optional*):
            Share of rows with the same predicted class, 0 to 1; `None` for scores and for the first variant.
        scores ([`SplitScores`]):
            Scores of the variant's predictions.
        rows_per_second (`float`):
            Speed from text to logits.
        megabytes (`float`):
            Size of the weights, in units of 10^6 bytes.
    """

    variant: str
    task: str
    rows: int
    logit_difference: Difference | None
    prediction_difference: Difference | None
    embedding_difference: Difference | None
    same_class: float | None
    scores: SplitScores
    rows_per_second: float
    megabytes: float


def pytorch_variant(name: str, trained: TrainedModel) -> Variant:
    """Makes the variant of a PyTorch model, which is moved to the CPU."""
    model = trained.model.cpu().eval()

    has_vectors = not model.head.is_cross_encoder

    def outputs(batch: dict[str, torch.Tensor]) -> Outputs:
        found = model(**batch, output_embeddings=has_vectors)
        return Outputs(found.logits.float().numpy(), found.embeddings.float().numpy() if has_vectors else None)

    @torch.inference_mode()
    def predict(columns: Columns) -> Outputs:
        return _in_row_order(columns, trained.tokenizer, outputs)

    return Variant(name, predict, sum(weight.nbytes for weight in model.state_dict().values()))


def onnx_variant(name: str, session: Any, size: int, tokenizer: PreTrainedTokenizerBase, task: str | None) -> Variant:
    """
    Makes the variant of an ONNX file.

    Args:
        name (`str`):
            Name of the variant.
        session (`onnxruntime.InferenceSession`):
            The opened file.
        size (`int`):
            Size of the file in bytes.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's tokenizer.
        task (`str`, *optional*):
            The task to predict, for the file of a multitask model; such a file reads single sentences in groups of
            two.
    """

    def of_one_task(batch: dict[str, torch.Tensor]) -> Outputs:
        found = run_session(session, batch)
        return Outputs(found["logits"], found.get("embeddings"))

    def of_several(batch: dict[str, torch.Tensor]) -> Outputs:
        rows, is_pair = len(batch["input_ids"]), batch["input_ids"].dim() == 3
        if not is_pair:
            even = torch.arange(rows + rows % 2).clamp(max=rows - 1)  # repeats the last row of an odd number
            batch = {key: tensor[even].view(len(even) // 2, 2, -1) for key, tensor in batch.items()}
        outputs = run_session(session, batch)
        found = outputs[f"logits_{task}"], outputs[f"embeddings_{task}"]  # (B, ...), single sentences (B / 2, 2, ...)
        return Outputs(*(found if is_pair else (each.reshape(-1, each.shape[-1])[:rows] for each in found)))

    outputs = of_one_task if task is None else of_several
    return Variant(name, lambda columns: _in_row_order(columns, tokenizer, outputs), size)


def sentence_transformers_variant(name: str, loaded: Any, model: ExtraBertForSimilarity, size: int) -> Variant:
    """Makes the variant of a loaded `SentenceTransformer`. The head of `model` computes scores from the vectors."""

    def predict(columns: Columns) -> Outputs:
        vectors = [
            loaded.encode(list(column), batch_size=BATCH_SIZE, convert_to_tensor=True, show_progress_bar=False)
            for column in columns
        ]
        # (N, 2, d) -> (N, 1); the vectors can be normalized, unlike those of the model
        return Outputs(model.head(torch.stack(vectors, dim=1).cpu()).numpy())

    return Variant(name, predict, size)


def measure_parity(
    task: TaskSpec, split: Dataset, before: Variant, after: Sequence[Variant], *, threads: int = 1
) -> list[ParityEntry]:
    """
    Compares the predictions of a model's variants on labelled rows.

    Args:
        task ([`TaskSpec`]):
            The task of the rows.
        split (`Dataset`):
            With `sentence1`, for pairs `sentence2`, and `label`.
        before ([`Variant`]):
            The original model.
        after (`Sequence[Variant]`):
            The exported variants.
        threads (`int`, defaults to 1):
            Number of PyTorch's threads during the measurement.

    Returns:
        `list[ParityEntry]`: one entry per variant, `before` first.

    Raises:
        [`InputError`]: if the rows have no labels.
    """
    if "label" not in split.column_names:
        raise InputError(f"`data` must be labelled rows to measure parity on, got the columns {split.column_names}.")
    columns = [split[name][:] for name in task.sentence_columns]
    labels = np.asarray(split["label"][:])
    entries: list[ParityEntry] = []
    expected: Outputs | None = None
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for variant in (before, *after):
            variant.predict([column[:BATCH_SIZE] for column in columns])  # warm-up: the first call takes longer
            start = time.perf_counter()
            outputs = variant.predict(columns)
            seconds = time.perf_counter() - start
            predictions = predictions_from_logits(task, outputs.logits)
            logit_difference = prediction_difference = embedding_difference = same_class = None
            if expected is None:
                expected = outputs
            else:
                predictions_before = predictions_from_logits(task, expected.logits)
                logit_difference = _difference(outputs.logits.astype(np.float64), expected.logits)
                if outputs.embeddings is not None and expected.embeddings is not None:
                    embedding_difference = _difference(outputs.embeddings, expected.embeddings)
                prediction_difference = _difference(predictions, predictions_before)
                same_class = None if task.is_regression else float((predictions == predictions_before).mean())
            entries.append(
                ParityEntry(
                    variant=variant.name,
                    task=task.name,
                    rows=len(labels),
                    logit_difference=logit_difference,
                    prediction_difference=prediction_difference,
                    embedding_difference=embedding_difference,
                    same_class=same_class,
                    scores=score(task, predictions, labels),
                    rows_per_second=len(labels) / seconds,
                    megabytes=variant.size / 1e6,
                )
            )
    finally:
        torch.set_num_threads(threads_before)
    return entries


def _difference(a: np.ndarray, b: np.ndarray) -> Difference:
    difference = np.abs(a - b)
    return Difference(max=float(difference.max()), mean=float(difference.mean()))


def parity_table(entries: Sequence[ParityEntry], metrics: Mapping[str, str]) -> str:
    """
    Formats entries of [`measure_parity`] as a Markdown table.

    Args:
        entries (`Sequence[ParityEntry]`):
            Entries of one task or of several.
        metrics (`Mapping[str, str]`):
            Name of the metric to show for each task, by the task's name.
    """
    differ = [f"{what}, max / mean" for what in ("logits differ", "prediction differs", "embeddings differ")]
    rows = [["variant", "task", "rows", *differ, "same class", "score [95 %]", "rows/s, one thread", "MB"]]
    for entry in entries:
        metric = metrics[entry.task]
        cells = [
            entry.variant,
            entry.task,
            f"{entry.rows:,}",
            _difference_cell(entry.logit_difference),
            _difference_cell(entry.prediction_difference),
            _difference_cell(entry.embedding_difference),
            "-" if entry.same_class is None else f"{100 * entry.same_class:.1f} %",
            f"{metric} {entry.scores.metrics[metric]:.4f} {interval_text(*entry.scores.intervals[metric])}",
            f"{entry.rows_per_second:,.0f}",
            f"{entry.megabytes:.1f}",
        ]
        rows.append(cells)
    return "\n".join(markdown_rows(rows))


def _difference_cell(difference: Difference | None) -> str:
    return "-" if difference is None else f"{difference.max:.2g} / {difference.mean:.2g}"


def _in_row_order(
    columns: Columns, tokenizer: PreTrainedTokenizerBase, predict: Callable[[dict[str, torch.Tensor]], Outputs]
) -> Outputs:
    """Predicts batches of rows of similar length, and returns the outputs in the order of the rows."""
    arrays: dict[str, np.ndarray] = {}
    for chosen, batch in _batches(columns, tokenizer):
        for name, part in vars(predict(batch)).items():  # (B, ...)
            if part is not None and name not in arrays:
                arrays[name] = np.empty((len(columns[0]), *part.shape[1:]), dtype=np.float32)
            if part is not None:
                arrays[name][chosen] = part
    return Outputs(**arrays)


def _batches(
    columns: Columns, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    token_ids = [tokenize_sentences(tokenizer, column) for column in columns]
    rows = [list(row) for row in zip(*token_ids, strict=True)]
    by_length = sorted(range(len(rows)), key=lambda index: max(map(len, rows[index])), reverse=True)
    collate = DataCollatorForSentences(tokenizer.pad_token_id)
    for start in range(0, len(rows), BATCH_SIZE):
        chosen = by_length[start : start + BATCH_SIZE]
        yield chosen, collate([{"input_ids": rows[i] if len(columns) > 1 else rows[i][0]} for i in chosen])

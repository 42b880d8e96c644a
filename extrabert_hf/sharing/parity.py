"""What an export does to the answers on real rows: differences, scores before and after, size and speed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.evaluation.scores import score
from extrabert_hf.models import ExtraBertForOneTask, ExtraBertForSimilarity
from extrabert_hf.sharing.onnx_export import run_session
from extrabert_hf.tasks import TaskSpec

BATCH_SIZE = 32

Columns = Sequence[Sequence[str]]
"""The sentences of N rows, a column of N of them, for pairs two."""


@dataclass(frozen=True)
class Variant:
    """
    One form of a model.

    Args:
        name (`str`):
            Such as `"onnx int8"`.
        answer (`Callable`):
            Columns of N rows -> their logits `(N, C)`.
        size (`int`):
            Bytes of its weights.
    """

    name: str
    answer: Callable[[Columns], np.ndarray]
    size: int


def pytorch_variant(name: str, model: ExtraBertForOneTask, tokenizer: PreTrainedTokenizerBase) -> Variant:
    """Makes the variant of a model as it is, on the CPU."""
    model = model.cpu().eval()

    @torch.inference_mode()
    def answer(columns: Columns) -> np.ndarray:
        return _in_order(columns, tokenizer, lambda batch: model(**batch).logits.float().numpy())

    return Variant(name, answer, sum(weight.nbytes for weight in model.state_dict().values()))


def onnx_variant(name: str, session: Any, size: int, tokenizer: PreTrainedTokenizerBase, task: str | None) -> Variant:
    """
    Makes the variant of an ONNX file.

    Args:
        name (`str`):
            Its name.
        session (`onnxruntime.InferenceSession`):
            The opened file.
        size (`int`):
            Bytes of the file.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        task (`str`, *optional*):
            Which task of a file of several; then single sentences go through it two by two.
    """
    if task is None:
        return Variant(
            name, lambda columns: _in_order(columns, tokenizer, lambda b: run_session(session, b)["logits"]), size
        )

    def logits(batch: dict[str, torch.Tensor]) -> np.ndarray:
        rows, is_pair = len(batch["input_ids"]), batch["input_ids"].dim() == 3
        if not is_pair:
            even = torch.arange(rows + rows % 2).clamp(max=rows - 1)  # an odd number: the last one twice
            batch = {key: tensor[even].view(len(even) // 2, 2, -1) for key, tensor in batch.items()}
        found = run_session(session, batch)[f"logits_{task}"]  # (B, C), single sentences (B / 2, 2, C)
        return found if is_pair else found.reshape(-1, found.shape[-1])[:rows]

    return Variant(name, lambda columns: _in_order(columns, tokenizer, logits), size)


def sentence_transformers_variant(name: str, loaded: Any, model: ExtraBertForSimilarity, size: int) -> Variant:
    """Makes the variant of a loaded `SentenceTransformer`, whose vectors the `model`'s head turns into scores."""

    def answer(columns: Columns) -> np.ndarray:
        vectors = [
            loaded.encode(list(column), batch_size=BATCH_SIZE, convert_to_tensor=True, show_progress_bar=False)
            for column in columns
        ]
        return model.head(torch.stack(vectors, dim=1).cpu()).numpy()  # (N, 2, d) -> (N, 1)

    return Variant(name, answer, size)


def measure_parity(
    task: TaskSpec, split: Dataset, before: Variant, after: Sequence[Variant], *, threads: int = 1
) -> list[dict[str, Any]]:
    """
    Compares the answers of a model's variants on labelled rows.

    Args:
        task ([`TaskSpec`]):
            What the rows hold.
        split (`Dataset`):
            With `sentence1`, for pairs `sentence2`, and `label`.
        before ([`Variant`]):
            The model as it was.
        after (`Sequence[Variant]`):
            What was exported.
        threads (`int`, defaults to 1):
            PyTorch's, while it is measured.

    Returns:
        `list[dict]`, one a variant, `before` first: `variant`, `task`, `rows`, `logit_difference` and
        `prediction_difference` (`max` and `mean`, of class ids or of scores), `same_class` (share of rows, `None` for
        scores), `scores` as [`score`] gives them, `rows_per_second` from text to logits, `megabytes`. The differences
        are from `before`, for which they are `None`.

    Raises:
        [`InputError`]: if the rows have no labels.
    """
    if "label" not in split.column_names:
        raise InputError(f"`data` must be labelled rows to measure parity on, got the columns {split.column_names}.")
    columns = [split[name][:] for name in ("sentence1", "sentence2")[: 2 if task.is_pair else 1]]
    labels = np.asarray(split["label"][:])
    entries, expected = [], None
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for variant in (before, *after):
            variant.answer([column[:BATCH_SIZE] for column in columns])  # the first call takes longer
            start = time.perf_counter()
            logits = variant.answer(columns)
            seconds = time.perf_counter() - start
            expected = logits if expected is None else expected
            entry = _compare(task, expected, logits) if variant is not before else dict.fromkeys(COMPARED)
            scores = score(task, predictions_from_logits(task, logits), labels)
            entry |= {"scores": asdict(scores), "rows_per_second": len(labels) / seconds}
            entry["megabytes"] = variant.size / 1e6
            entries.append({"variant": variant.name, "task": task.name, "rows": len(labels)} | entry)
    finally:
        torch.set_num_threads(threads_before)
    return entries


COMPARED = ("logit_difference", "prediction_difference", "same_class")


def _compare(task: TaskSpec, expected: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    predictions = [predictions_from_logits(task, either) for either in (expected, logits)]
    differences = [np.abs(logits.astype(np.float64) - expected), np.abs(predictions[1] - predictions[0])]
    spreads = [{"max": float(d.max()), "mean": float(d.mean())} for d in differences]
    same_class = None if task.is_regression else float((predictions[0] == predictions[1]).mean())
    return dict(zip(COMPARED, [*spreads, same_class], strict=True))


def parity_table(entries: Sequence[Mapping[str, Any]], metrics: Mapping[str, str]) -> str:
    """
    Lays out what [`measure_parity`] gives as a Markdown table.

    Args:
        entries (`Sequence[dict]`):
            Of one task or of several.
        metrics (`Mapping[str, str]`):
            By task, the name of the metric to show.
    """
    lines = [
        "| variant | task | rows | logits differ, max / mean | prediction differs, max / mean | same class "
        "| score [95 %] | rows/s, one thread | MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in entries:
        metric = metrics[entry["task"]]
        low, high = entry["scores"]["intervals"][metric]
        told = [_spread(entry[key]) for key in ("logit_difference", "prediction_difference")]
        same_class = "-" if entry["same_class"] is None else f"{100 * entry['same_class']:.1f} %"
        score_told = f"{metric} {entry['scores']['metrics'][metric]:.4f} [{low:.3f}, {high:.3f}]"
        speed, size = f"{entry['rows_per_second']:,.0f}", f"{entry['megabytes']:.1f}"
        cells = [entry["variant"], entry["task"], f"{entry['rows']:,}", *told, same_class, score_told, speed, size]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(difference: Mapping[str, float] | None) -> str:
    return "-" if difference is None else f"{difference['max']:.2g} / {difference['mean']:.2g}"


def _in_order(
    columns: Columns, tokenizer: PreTrainedTokenizerBase, answer: Callable[[dict[str, torch.Tensor]], np.ndarray]
) -> np.ndarray:
    """Answers batches of rows of like length, and gives the logits in the rows' order."""
    logits: np.ndarray | None = None
    for chosen, batch in _batches(columns, tokenizer):
        part = answer(batch)  # (B, C)
        if logits is None:
            logits = np.empty((len(columns[0]), part.shape[-1]), dtype=np.float32)
        logits[chosen] = part
    return logits


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

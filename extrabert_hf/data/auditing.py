"""
Audits a task's rows before training: duplicates, leaks between splits, contradictory labels, lengths, label counts.

[`audit`] counts the defects, [`drop_defects`] removes train rows with defects.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.audit_report import (
    BASELINE_METRICS,
    MAX_EXAMPLES,
    MAX_TOKENIZED,
    Audit,
    Contradictions,
    Defect,
    SplitAudit,
    TokenCounts,
    WordCounts,
)
from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.reading import RejectedRow
from extrabert_hf.tasks import SENTENCE_COLUMNS, TaskSpec

MajorityBaseline = Callable[[TaskSpec, np.ndarray, np.ndarray], Mapping[str, float]]
"""A function of the task, the train labels and a split's labels, such as `evaluation.scores.majority_baseline`."""
TextKey = tuple[str, ...]
"""The normalized text of a row: equal for rows that count as the same text."""


def audit(
    loaded: LoadedData,
    task: TaskSpec,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    majority_baseline: MajorityBaseline,
) -> Audit:
    """
    Audits the rows of a task.

    Args:
        loaded ([`LoadedData`]):
            The splits and the rejected rows.
        task ([`TaskSpec`]):
            The task of the labels.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Counts the tokens of sentences; sentences longer than its `model_max_length` count as cut off.
        majority_baseline (`Callable`):
            Computes the metrics of a constant prediction, see [`MajorityBaseline`].
    """
    keys = {name: text_keys(split) for name, split in loaded.splits.items()}
    in_train = set(keys.get("train", ()))
    return Audit(
        task=task.name,
        rejected=dict(Counter(row.reason for row in loaded.rejected).most_common()),
        splits={name: _audit_split(split, keys[name], task, tokenizer) for name, split in loaded.splits.items()},
        leaks={
            name: _defect(split, [index for index, key in enumerate(keys[name]) if key in in_train])
            for name, split in loaded.splits.items()
            if name != "train"
        },
        majority_baseline=_baselines(loaded, task, majority_baseline),
        extra=loaded.extra,
    )


def own_train_labels(loaded: LoadedData) -> np.ndarray:
    """
    Returns the labels of the train rows without those of further files and of phrases, whose shares of labels differ
    from those of dev and test.
    """
    labels = np.asarray(loaded.splits["train"]["label"][:])
    return labels[: len(labels) - sum(counts.added for counts in loaded.extra)]


def text_keys(split: Dataset) -> list[TextKey]:
    """
    Returns each row's text in normalized form: equal for texts that differ in case, spacing or the order of a pair.

    Example:
        >>> rows = {"sentence1": ["A  dog runs.", "It rains."], "sentence2": ["it rains.", "a dog runs."]}
        >>> first, second = text_keys(Dataset.from_dict(rows))
        >>> first == second
        True
    """
    columns = [split[name][:] for name in SENTENCE_COLUMNS if name in split.column_names]
    return [tuple(sorted(" ".join(text.casefold().split()) for text in row)) for row in zip(*columns, strict=True)]


def _audit_split(
    split: Dataset, keys: Sequence[TextKey], task: TaskSpec, tokenizer: PreTrainedTokenizerBase | None
) -> SplitAudit:
    sentences = [text for name in SENTENCE_COLUMNS if name in split.column_names for text in split[name][:]]
    labels = split["label"][:] if "label" in split.column_names else None
    return SplitAudit(
        rows=len(split),
        words=WordCounts(**_spread([len(sentence.split()) for sentence in sentences])),
        duplicates=_duplicates(split, keys),
        tokens=None if tokenizer is None else _token_counts(sentences, tokenizer),
        labels=None if labels is None else _label_counts(np.asarray(labels), task),
        contradictions=None if labels is None else _contradictions(split, keys, labels),
    )


def _duplicates(split: Dataset, keys: Sequence[TextKey]) -> Defect:
    first_rows: dict[TextKey, int] = {}
    return _defect(split, [index for index, key in enumerate(keys) if first_rows.setdefault(key, index) != index])


def _contradictions(split: Dataset, keys: Sequence[TextKey], labels: Sequence[float]) -> Contradictions:
    by_text: dict[TextKey, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        by_text[key].append(index)
    contradictory = [rows for rows in by_text.values() if len({labels[index] for index in rows}) > 1]
    differences = [max(labels[i] for i in rows) - min(labels[i] for i in rows) for rows in contradictory]
    defect = _defect(split, [index for rows in contradictory for index in rows])
    return Contradictions(len(contradictory), defect.rows, defect.examples, max(differences, default=0))


def _token_counts(sentences: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> TokenCounts:
    chosen = list(sentences)
    if len(chosen) > MAX_TOKENIZED:
        drawn = np.random.default_rng(0).choice(len(chosen), MAX_TOKENIZED, replace=False)
        chosen = [chosen[index] for index in drawn]
    ids = tokenizer(chosen, truncation=False, verbose=False, return_attention_mask=False)["input_ids"]
    lengths = [len(sentence) for sentence in ids]
    limit = tokenizer.model_max_length
    return TokenCounts(
        sentences=len(chosen),
        max_length=limit,
        cut_off=float(np.mean([length > limit for length in lengths])),
        **_spread(lengths),
    )


def _label_counts(labels: np.ndarray, task: TaskSpec) -> dict[str, int]:
    if not task.is_regression:
        counts = np.bincount(labels, minlength=len(task.class_names))
        return dict(zip(task.class_names, counts.tolist(), strict=True))
    edges = np.linspace(*task.label_range, 6)
    counts, _ = np.histogram(labels, bins=edges)
    return {f"{low:g} to {high:g}": int(n) for low, high, n in zip(edges, edges[1:], counts, strict=False)}


def _baselines(loaded: LoadedData, task: TaskSpec, majority_baseline: MajorityBaseline) -> dict[str, dict[str, float]]:
    if "train" not in loaded.splits:
        return {}
    labelled = {name: split for name, split in loaded.splits.items() if "label" in split.column_names}
    labels, own = {name: np.asarray(split["label"][:]) for name, split in labelled.items()}, own_train_labels(loaded)
    scores = {name: majority_baseline(task, own, column) for name, column in labels.items()}
    return {name: {m: score[m] for m in BASELINE_METRICS if m in score} for name, score in scores.items()}


def _spread(counts: Sequence[int]) -> dict[str, Any]:
    return {"mean": float(np.mean(counts)), "median": float(np.median(counts)), "max": max(counts)}


def _defect(split: Dataset, rows: Sequence[int]) -> Defect:
    ids = split["id"]
    return Defect(len(rows), [ids[index] for index in rows[:MAX_EXAMPLES]])


def drop_defects(loaded: LoadedData, *, leaked: bool, duplicates: bool) -> LoadedData:
    """
    Removes train rows with the text of a row in another split or of an earlier train row.

    Args:
        loaded ([`LoadedData`]):
            The splits; only `train` changes.
        leaked (`bool`):
            Whether to remove rows with a text of the dev or test split.
        duplicates (`bool`):
            Whether to keep only the first row of each text.

    Returns:
        [`LoadedData`]: the removed rows are among the rejected rows, and a notice counts them.
    """
    train = loaded.splits["train"]
    others = {key: name for name, split in loaded.splits.items() if name != "train" for key in text_keys(split)}
    seen: set[TextKey] = set()
    kept, rejected = [], []
    for index, key in enumerate(text_keys(train)):
        reason = None
        if leaked and key in others:
            reason = f"text is also in {others[key]}"
        elif duplicates and key in seen:
            reason = "text is also in an earlier row"
        seen.add(key)
        if reason is None:
            kept.append(index)
        else:
            row = train[index]
            rejected.append(RejectedRow.of("train split", row.pop("line", index + 1), reason, row))
    if not rejected:
        return loaded
    counts = ", ".join(f"{n:,} {reason}" for reason, n in Counter(row.reason for row in rejected).most_common())
    return replace(
        loaded,
        splits=DatasetDict({**loaded.splits, "train": train.select(kept).flatten_indices()}),
        rejected=[*loaded.rejected, *rejected],
        notices=[*loaded.notices, f"{len(rejected):,} of {len(train):,} train rows left out: {counts}"],
    )

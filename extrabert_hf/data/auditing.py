"""An audit of rows as a page of text."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.reading import RejectedRow
from extrabert_hf.tasks import SENTENCE_COLUMNS, TaskSpec

TOKENIZED = 50_000
"""Sentences of a split that are tokenised to see how many are cut off; of more, so many drawn at random."""
EXAMPLES = 5
"""Ids that are listed of rows with a defect."""

Key = tuple[str, ...]
"""What two rows of the same text share."""


def text_keys(split: Dataset) -> list[Key]:
    """
    Gives each row's text as it is compared: without regard to case, spacing and, of a pair, order.

    Example:
        >>> rows = {"sentence1": ["A  dog runs.", "It rains."], "sentence2": ["it rains.", "a dog runs."]}
        >>> first, second = text_keys(Dataset.from_dict(rows))
        >>> first == second
        True
    """
    columns = [split[name][:] for name in SENTENCE_COLUMNS if name in split.column_names]
    return [tuple(sorted(" ".join(text.casefold().split()) for text in row)) for row in zip(*columns, strict=True)]


def audit(loaded: LoadedData, task: TaskSpec, tokenizer: PreTrainedTokenizerBase | None = None) -> dict[str, Any]:
    """
    Looks through the rows of a task.

    Args:
        loaded ([`LoadedData`]):
            The splits, and the rows that could not be used.
        task ([`TaskSpec`]):
            Whose labels they hold.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Tells how many sentences are longer than its `model_max_length`; without it that is not told.

    Returns:
        `dict`, ready for JSON: `task`; `rejected` (rows by reason); by split its `rows`, `labels`, `words` a sentence,
        `tokens`, `duplicates` (rows whose text an earlier row has), `contradictions` (texts with several labels);
        `leaks` (by split, rows whose text stands in train); `majority_baseline` (by labelled split, the score of the
        most frequent training class, or the error of the mean training score).
    """
    keys = {name: text_keys(split) for name, split in loaded.splits.items()}
    splits = {name: _audit_split(split, keys[name], task, tokenizer) for name, split in loaded.splits.items()}
    in_train = set(keys.get("train", ()))
    leaks = {
        name: _told(split, [index for index, key in enumerate(keys[name]) if key in in_train])
        for name, split in loaded.splits.items()
        if name != "train"
    }
    return {
        "task": task.name,
        "rejected": dict(Counter(row.reason for row in loaded.rejected).most_common()),
        "splits": splits,
        "leaks": leaks,
        "majority_baseline": _majority(loaded.splits, task),
    }


def drop_defects(loaded: LoadedData, *, leaked: bool, duplicates: bool) -> LoadedData:
    """
    Leaves out training rows whose text stands in another split, or in an earlier row.

    Args:
        loaded ([`LoadedData`]):
            The splits; all but `train` stay as they are.
        leaked (`bool`):
            Whether to leave out rows whose text is in dev or test.
        duplicates (`bool`):
            Whether to keep the first row of each text only.

    Returns:
        [`LoadedData`]: with the rows left out among the rejected ones, and a notice that counts them.
    """
    train = loaded.splits["train"]
    elsewhere = {key: name for name, split in loaded.splits.items() if name != "train" for key in text_keys(split)}
    seen: set[Key] = set()
    kept, rejected = [], []
    for index, key in enumerate(text_keys(train)):
        reason = None
        if leaked and key in elsewhere:
            reason = f"text stands in {elsewhere[key]} too"
        elif duplicates and key in seen:
            reason = "text stands in an earlier row"
        seen.add(key)
        if reason is None:
            kept.append(index)
        else:
            row = {name: str(value)[:200] for name, value in train[index].items()}
            rejected.append(RejectedRow(file="train split", line=index + 1, reason=reason, row=row))
    if not rejected:
        return loaded
    counts = ", ".join(f"{n:,} {reason}" for reason, n in Counter(row.reason for row in rejected).most_common())
    return replace(
        loaded,
        splits=DatasetDict({**loaded.splits, "train": train.select(kept).flatten_indices()}),
        rejected=[*loaded.rejected, *rejected],
        notices=[*loaded.notices, f"{len(rejected):,} of {len(train):,} train rows left out: {counts}"],
    )


def findings(report: Mapping[str, Any]) -> list[str]:
    """Says in a line each what of an [`audit`] a user should know before training; nothing where all is well."""
    lines = []
    for name, split in report["splits"].items():
        duplicates, contradictions = split["duplicates"]["rows"], split.get("contradictions", {"texts": 0})
        if duplicates:
            lines.append(f"{duplicates:,} of {split['rows']:,} {name} rows have the text of an earlier one")
        if contradictions["texts"]:
            lines.append(f"{contradictions['texts']:,} of the texts of {name} with several labels")
        cut = split.get("tokens", {}).get("cut_off", 0)
        if cut:
            lines.append(f"{100 * cut:.1f} % of the sentences of {name} are cut off")
    for name, leak in report["leaks"].items():
        if leak["rows"]:
            lines.append(f"{leak['rows']:,} of {report['splits'][name]['rows']:,} {name} rows stand in train too")
    return [f"{report['task']}: {line}" for line in lines]


def write_audit(path: Path, reports: Mapping[str, Any]) -> None:
    """Writes audits by task as JSON, in a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")


def _audit_split(
    split: Dataset, keys: Sequence[Key], task: TaskSpec, tokenizer: PreTrainedTokenizerBase | None
) -> dict[str, Any]:
    sentences = [text for name in SENTENCE_COLUMNS if name in split.column_names for text in split[name][:]]
    earlier: set[Key] = set()
    duplicates = []
    for index, key in enumerate(keys):
        if key in earlier:
            duplicates.append(index)
        earlier.add(key)
    report = {
        "rows": len(split),
        "words": _spread(np.array([len(sentence.split()) for sentence in sentences])),
        "duplicates": _told(split, duplicates),
    }
    if tokenizer is not None:
        report["tokens"] = _token_lengths(sentences, tokenizer)
    if "label" in split.column_names:
        labels = split["label"][:]
        report["labels"] = _label_counts(np.asarray(labels), task)
        report["contradictions"] = _contradictions(split, keys, labels)
    return report


def _contradictions(split: Dataset, keys: Sequence[Key], labels: Sequence[float]) -> dict[str, Any]:
    by_text: dict[Key, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        by_text[key].append(index)
    at_odds = [rows for rows in by_text.values() if len({labels[index] for index in rows}) > 1]
    gaps = [max(labels[i] for i in rows) - min(labels[i] for i in rows) for rows in at_odds]
    told = _told(split, [index for rows in at_odds for index in rows])
    return {"texts": len(at_odds), **told, "largest_difference": max(gaps, default=0)}


def _token_lengths(sentences: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    chosen = list(sentences)
    if len(chosen) > TOKENIZED:
        drawn = np.random.default_rng(0).choice(len(chosen), TOKENIZED, replace=False)
        chosen = [chosen[index] for index in drawn]
    ids = tokenizer(chosen, truncation=False, verbose=False, return_attention_mask=False)["input_ids"]
    lengths = np.array([len(sentence) for sentence in ids])
    limit = tokenizer.model_max_length
    return {"sentences": len(chosen), "max_length": limit, "cut_off": float((lengths > limit).mean())} | _spread(
        lengths
    )


def _label_counts(labels: np.ndarray, task: TaskSpec) -> dict[str, Any]:
    if not task.is_regression:
        counts = np.bincount(labels, minlength=len(task.class_names))
        return dict(zip(task.class_names, counts.tolist(), strict=True))
    edges = np.linspace(*task.label_range, 6)
    counts, _ = np.histogram(labels, bins=edges)
    return {f"{low:g} to {high:g}": int(n) for low, high, n in zip(edges, edges[1:], counts, strict=False)}


def _majority(splits: Mapping[str, Dataset], task: TaskSpec) -> dict[str, dict[str, float]]:
    if "train" not in splits:
        return {}
    train = np.asarray(splits["train"]["label"][:])
    answer = train.mean() if task.is_regression else np.bincount(train).argmax()
    labelled = {name: np.asarray(split["label"][:]) for name, split in splits.items() if "label" in split.column_names}
    if task.is_regression:
        return {name: {"mse": float(((labels - answer) ** 2).mean())} for name, labels in labelled.items()}
    return {name: {"accuracy": float((labels == answer).mean())} for name, labels in labelled.items()}


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(values.mean()), "median": float(np.median(values)), "max": int(values.max())}


def _told(split: Dataset, rows: Sequence[int]) -> dict[str, Any]:
    ids = split["id"]
    return {"rows": len(rows), "examples": [ids[index] for index in rows[:EXAMPLES]]}


def audit_page(report: Mapping[str, Any]) -> str:
    """
    Lays out what [`audit`] gives: a table of the splits, then each defect with the ids of some of its rows.

    Args:
        report (`dict`):
            Of one task.
    """
    names = list(report["splits"])
    lines = [report["task"].ljust(34) + "".join(name.rjust(16) for name in names)]

    def line(title: str, cells: Mapping[str, str]) -> None:
        lines.append(f"  {title:<32}" + "".join(cells.get(name, "-").rjust(16) for name in names))

    splits = report["splits"]
    line("rows", {name: f"{split['rows']:,}" for name, split in splits.items()})
    line(
        "words a sentence, median / max",
        {n: f"{s['words']['median']:g} / {s['words']['max']}" for n, s in splits.items()},
    )
    if any("tokens" in split for split in splits.values()):
        limit = next(split["tokens"]["max_length"] for split in splits.values())
        cut = {name: f"{100 * split['tokens']['cut_off']:.2f} %" for name, split in splits.items()}
        line(f"longer than {limit} tokens", cut)
    for label in next((split["labels"] for split in splits.values() if "labels" in split), {}):
        shares = {
            n: f"{100 * s['labels'][label] / max(s['rows'], 1):.1f} %" for n, s in splits.items() if "labels" in s
        }
        line(f"label {label}", shares)
    for metric in ("accuracy", "mse"):
        scores = {n: f"{s[metric]:.3f}" for n, s in report["majority_baseline"].items() if metric in s}
        if scores:
            line(f"majority baseline, {metric}", scores)
    line("rows with an earlier row's text", {n: f"{s['duplicates']['rows']:,}" for n, s in splits.items()})
    line("rows whose text is in train", {name: f"{leak['rows']:,}" for name, leak in report["leaks"].items()})
    line(
        "texts with several labels",
        {n: f"{s['contradictions']['texts']:,}" for n, s in splits.items() if "contradictions" in s},
    )
    lines.append(f"  rows that can't be used: {sum(report['rejected'].values()):,}")
    lines += [f"    {count:,} {reason}" for reason, count in report["rejected"].items()]
    for name, split in splits.items():
        for title, defect in (
            (f"{name} rows with an earlier row's text", split["duplicates"]),
            (f"{name} rows with several labels for a text", split.get("contradictions", {"rows": 0})),
            (f"{name} rows whose text is in train", report["leaks"].get(name, {"rows": 0})),
        ):
            if defect["rows"]:
                more = ", ..." if defect["rows"] > len(defect["examples"]) else ""
                lines.append(f"  {title}, ids: {', '.join(defect['examples'])}{more}")
    return "\n".join(lines)

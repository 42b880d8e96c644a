"""The plan of a run: for each task a line about the rows and one about the task, then a line about the training."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.sources import describe_source
from extrabert_hf.data.validation import Columns
from extrabert_hf.errors import printable
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.run import Run, TaskRun

logger = logging.getLogger(__name__)

MOST_CLASSES_SHOWN = 10
KINDS = {"sentiment": "sentences with classes", "paraphrase": "pairs with classes", "similarity": "pairs with scores"}
"""By head, what its rows are."""


def log_plan(run: Run, loaded: Mapping[str, LoadedData]) -> None:
    """Logs the plan of a run, and the notices about its rows that the plan does not contain."""
    for line in plan_lines(run, loaded):
        logger.info(line)
    for rows in loaded.values():
        for notice in rows.notices:
            if not _is_in_plan(notice, rows):
                logger.info(notice)


def _is_in_plan(notice: str, rows: LoadedData) -> bool:
    if notice.startswith("columns of "):
        train, *others = rows.columns
        return all(replace(columns, label=train.label) == train for columns in others)  # a test split may lack labels
    return notice.startswith("classes of ") or (rows.dev_cut_off is not None and "became the dev split" in notice)


def plan_lines(run: Run, loaded: Mapping[str, LoadedData]) -> list[str]:
    """
    Describes a run: for each task a line about the rows and one about the task, then a line about the training.

    Args:
        run ([`Run`]):
            The arguments of the run.
        loaded (`Mapping[str, LoadedData]`):
            The rows of each task.
    """
    lines = []
    for name, rows in loaded.items():
        lines += [_line_of_rows(run, name, rows), _line_of_task(run.tasks[name], rows)]
    return [*lines, _line_of_training(run)]


def _line_of_rows(run: Run, name: str, rows: LoadedData) -> str:
    columns, data = rows.columns[0], run.tasks[name].data
    if run.inspection is not None:
        source = run.inspection.source
    else:
        source = describe_source(rows.task, data.data, data.dataset_config).name.removesuffix(" (local files)")
    labels = _train_labels(rows)
    texts = [repr(printable(each, 40)) for each in (columns.sentence1, columns.sentence2) if each is not None]
    parts = [f"{'text' if len(texts) == 1 else 'texts'} = {' and '.join(texts)}"]
    parts.append(f"label = {printable(columns.label or '', 40)!r} ({_describe_labels(rows.task, labels)})")
    if columns.id is not None:
        parts.append(f"id = {printable(columns.id, 40)!r}")
    if unused := _unused(run, columns):
        shown = ", ".join(repr(printable(each, 40)) for each in unused[:MOST_CLASSES_SHOWN])
        parts.append(f"not used: {shown}{', ...' * (len(unused) > MOST_CLASSES_SHOWN)}")
    rejected = sum(row.file == source for row in rows.rejected)
    unread = f" ({rejected:,} more cannot be used)" if rejected else ""
    return f"{source}: {len(labels):,} rows{unread}; {', '.join(parts)}"


def _line_of_task(task_run: TaskRun, rows: LoadedData) -> str:
    task, data, dev = rows.task, task_run.data, len(rows.splits["dev"])
    line = f"task {task.name!r}: {KINDS[task.head]}, head {task.head!r}"
    if rows.dev_cut_off is not None:
        total = dev + len(rows.splits["train"])
        line += f"; dev rows: {dev:,} of the {total:,} (--dev_fraction {data.dev_fraction:g})"
    else:
        line += f"; dev rows: {dev:,}"
    return line + (f"; test rows: {len(rows.splits['test']):,}" if "test" in rows.splits else "")


def _line_of_training(run: Run) -> str:
    training = run.training
    length = f"{training.max_steps:,} steps" if training.max_steps > 0 else f"epochs: {training.num_train_epochs:g}"
    values = f"batches of {training.per_device_train_batch_size}, learning rate {training.learning_rate:g}"
    return f"{run.encoder.model_name_or_path}, {length}, {values} -> {training.output_dir}"


def _train_labels(rows: LoadedData) -> list[float]:
    """Returns the labels of the file with the train rows, those of a dev split cut off them included."""
    splits = ["train", "dev"] if rows.dev_cut_off is not None else ["train"]
    return [label for split in splits for label in rows.splits[split]["label"][:]]


def _describe_labels(task: TaskSpec, labels: Sequence[float]) -> str:
    if task.is_regression:
        low, high = task.label_range
        return f"scores from {min(labels):g} to {max(labels):g}, range {low:g} to {high:g}"
    counts = Counter(labels)
    shown = [f"{printable(name, 40)!r} {counts[index]:,}" for index, name in enumerate(task.class_names)]
    more = ", ..." if len(shown) > MOST_CLASSES_SHOWN else ""
    return f"{len(shown):,} classes: {', '.join(shown[:MOST_CLASSES_SHOWN])}{more}"


def _unused(run: Run, columns: Columns) -> list[str]:
    present = () if run.inspection is None else run.inspection.present
    return [name for name in present if name not in vars(columns).values()]

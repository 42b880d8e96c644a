"""The plan of a run: for each task a line about the rows and one about the task, then a line about the training."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from extrabert_hf.data.auditing import own_train_labels
from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.sources import describe_source
from extrabert_hf.data.validation import Columns
from extrabert_hf.errors import printable
from extrabert_hf.pretrained.names import public_model_name
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.defaults import with_reachable_encoder, with_values_by_size
from extrabert_hf.training.run import Run, TaskRun
from extrabert_hf.training.run_output import log_rows

logger = logging.getLogger(__name__)

MOST_CLASSES_SHOWN = 10
KINDS = {"sentiment": "sentences with classes", "paraphrase": "pairs with classes", "similarity": "pairs with scores"}
"""By head, what its rows are."""


def plan_run(run: Run, loaded: Mapping[str, LoadedData], saved_encoder: str | None = None) -> Run:
    """
    Logs the plan of a run, and returns the run with the classes of its rows and without open rules.

    The rows of the tasks of the paper are a table instead, except in a dry run.

    Args:
        run ([`Run`]):
            The arguments of the run.
        loaded (`Mapping[str, LoadedData]`):
            The rows of each task.
        saved_encoder (`str`, *optional*):
            The encoder of the checkpoint that the run resumes from.

    Raises:
        [`InputError`]: if the rules of the run need an encoder that can't be loaded.
    """
    is_whole = run.dry_run or run.inspection is not None
    if is_whole:
        for name, rows in loaded.items():
            logger.info(_line_of_rows(run, name, rows))
            logger.info(_line_of_task(run.tasks[name], rows))
            for notice in rows.notices:
                if not _is_in_plan(notice, rows):
                    logger.info(notice)
    else:
        log_rows(loaded)
    run = run.with_specs({name: rows.task for name, rows in loaded.items()})
    run, defaults = with_values_by_size(with_reachable_encoder(run, saved_encoder), loaded)
    logger.info(_line_of_training(run) + (f" ({defaults})" if defaults else ""))
    return run


def _is_in_plan(notice: str, rows: LoadedData) -> bool:
    if notice.startswith("columns of "):
        train, *others = rows.columns
        return all(replace(columns, label=train.label) == train for columns in others)  # a test split may lack labels
    return notice.startswith("classes of ") or (rows.dev_cut_off is not None and "became the dev split" in notice)


def _line_of_rows(run: Run, name: str, rows: LoadedData) -> str:
    columns, data = rows.columns[0], run.tasks[name].data
    if run.inspection is not None:
        source = run.inspection.source
    elif run.rows is not None:
        source = run.rows["train"].name
    else:
        source = describe_source(rows.task, data.data, data.dataset_config).name.removesuffix(" (local files)")
    labels = _own_labels(rows)
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
        total = len(_own_labels(rows))
        line += f"; dev rows: {dev:,} of the {total:,} (--dev_fraction {data.dev_fraction:g})"
    else:
        line += f"; dev rows: {dev:,}"
    return line + (f"; test rows: {len(rows.splits['test']):,}" if "test" in rows.splits else "")


def _line_of_training(run: Run) -> str:
    training = run.training
    length = f"steps: {training.max_steps:,}" if training.max_steps > 0 else f"epochs: {training.num_train_epochs:g}"
    tokens = training.max_tokens_per_batch
    batch = training.per_device_train_batch_size if tokens is None else f"up to {tokens:,} tokens"
    values = f"batches of {batch}, learning rate {training.learning_rate:g}"
    return f"{public_model_name(run.encoder.model_name_or_path)}, {length}, {values} -> {training.output_dir}"


def _own_labels(rows: LoadedData) -> list[float]:
    """Returns the labels of the file with the train rows, those of a dev split cut off them included."""
    own = own_train_labels(rows).tolist()
    return own if rows.dev_cut_off is None else [*own, *rows.splits["dev"]["label"][:]]


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

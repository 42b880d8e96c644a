"""Predicts the rows of a file of any size and writes them with their predictions, in one process or several."""

import hashlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset

from extrabert_hf.data.originals import StreamedFile, stream_sentences
from extrabert_hf.data.reading import RejectedRow, Row
from extrabert_hf.data.validation import write_rejected_rows
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.selective import check_abstention
from extrabert_hf.files import own_file
from extrabert_hf.inference.prediction_columns import SEPARATORS, PredictedTable
from extrabert_hf.inference.prediction_parts import PredictionParts
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.machine import join_processes
from extrabert_hf.manifest import check_own, record, remove_own
from extrabert_hf.models import ExtraBertPreTrainedModel
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.terminal import progress_bar

ROWS_AT_A_TIME = 2_000
"""Number of rows of a part: large enough to sort rows by length, small enough that all processes get parts."""

PartRow = tuple[Row, Row]
"""A row with `sentence1`, for pairs `sentence2`, and `id`, and the row as it is in the file."""

logger = logging.getLogger(__name__)


def predict_file(
    predictor: Predictor,
    source: str,
    output: str,
    *,
    task: TaskSpec | None = None,
    csv_safe: bool = False,
    abstain_below: float | None = None,
) -> int:
    """
    Predicts each row of a file and writes it with its prediction, in the order of the file.

    All columns of the file stay as they are. A file without ids gets the first column `id`, the line of the row. The
    last columns are those of [`prediction_columns`]: the class name, the class id and a probability for each class, 0
    to 1; or the score, in the units of the training labels; and the prediction set or the interval, if the config of
    the model has quantiles for them. If the file has a column with one of these names, the new column gets a number,
    `class_id_2`. Rows without text are counted, and written with the reason to
    `<output without suffix>.rejected.jsonl` instead.

    Under `accelerate launch` the processes share the parts of the file, and the main process joins their predictions.
    A call with the same models, input and output as an interrupted call continues it.

    Args:
        predictor ([`Predictor`]):
            The model or the ensemble. The main process shows its progress.
        source (`str`):
            File as for [`read_rows`]; `"-"` is standard input, one sentence per line, or two separated by a tab.
        output (`str`):
            File that ends in `.csv`, `.tsv` or `.jsonl`. It exists once it is complete; until then its parts are in
            the folder `<output>.parts/`. `"-"` is standard output, as jsonl. With `"-"` only one process is allowed,
            and an interrupted call can't be continued.
        task ([`TaskSpec`], *optional*):
            The predictor's task with other column names.
        csv_safe (`bool`, defaults to `False`):
            Whether a cell of a csv or tsv file that a spreadsheet program may run as a formula gets an apostrophe in
            front. Without, the cells are counted and a warning is logged.
        abstain_below (`float`, *optional*):
            For classes, a probability, 0 to 1: rows whose predicted class has a smaller one get no class name and no
            class id. The probabilities stay. The last column `abstained` is true or false. The number of rows with a
            class is logged at the end.

    Returns:
        `int`: number of written rows, of all processes.

    Raises:
        [`InputError`]: if the file, a column or the suffix of the output can't be used, or for `abstain_below` if it
        is no probability or the predictor predicts scores.
    """
    if abstain_below is not None:
        check_abstention("abstain_below", abstain_below, predictor.task)
    suffix = ".jsonl" if output == "-" else Path(output).suffix
    if suffix not in (*SEPARATORS, ".jsonl"):
        raise InputError(f"`output` must end in .csv, .tsv or .jsonl, or be '-', got {output!r}.")
    if csv_safe and suffix not in SEPARATORS:
        raise InputError(f"`csv_safe` is for an `output` that ends in .csv or .tsv, got {output!r}.")
    task = predictor.task if task is None else task
    state = join_processes()
    if "-" in (source, output) and state.num_processes > 1:
        raise InputError(f"`input` and `output` must be files for {state.num_processes} processes, got '-'.")
    rejected = _RejectedRows(Path("standard_output" if output == "-" else output), state.is_main_process)
    if source != "-" and Path(source).resolve() in (Path(output).resolve(), rejected.path.resolve()):
        raise InputError(f"`output` {output!r} would take the place of the input {source!r}: name another.")
    with own_file("output", None if output == "-" else Path(output)):
        options = {"csv_safe": csv_safe, "abstain_below": abstain_below}
        return _predict_rows(predictor, task, source, output, rejected, state, options)


def _predict_rows(
    predictor: Predictor,
    task: TaskSpec,
    source: str,
    output: str,
    rejected: "_RejectedRows",
    state: PartialState,
    table_options: dict[str, Any],
) -> int:
    suffix = ".jsonl" if output == "-" else Path(output).suffix
    rows = stream_sentences(task, source)
    rejected.delete_earlier()
    conformal = _conformal(predictor, state.is_main_process)
    has_ids = rows.columns.id is not None
    table = PredictedTable(predictor.task, rows.present, has_ids, suffix, conformal=conformal, **table_options)
    parts = _parts(rows, rejected, table)
    predictor = replace(predictor, progress=state.is_main_process)
    abstained = 0

    def count(text: str) -> None:  # the text of each part, also of one that another process or call has predicted
        nonlocal abstained
        abstained += 0 if table.abstain_below is None else table.count_abstained(text)

    def predicted(part: Sequence[PartRow]) -> str:
        sentences = {name: [row[name] for row, _ in part] for name in task.sentence_columns}
        predictions = predictor.predict(Dataset.from_dict(sentences))
        return table.lines(((row["id"], original) for row, original in part), predictions)

    with progress_bar(desc="predicting", units="rows", disable=not state.is_main_process) as bar:
        if output == "-":
            written = _print_parts(parts, predicted, count, bar)
        else:
            written_parts = PredictionParts(Path(output), _job(predictor, task, source) | table.job())
            written = _share_parts(parts, predicted, count, written_parts, table.head(), bar, state)
    if table.renamed and state.is_main_process:
        logger.warning("%s has columns of predictions already; the new ones are %s", source, ", ".join(table.renamed))
    for notice in table.notices() if state.is_main_process else ():
        logger.warning(notice)
    if table.abstain_below is not None and state.is_main_process:
        answered = f"{written - abstained:,} of {written:,}"
        logger.info("answered %s rows, abstained from %s", answered, f"{abstained:,}")
    if rejected.count and state.is_main_process:
        total = f"{written + rejected.count:,}"
        logger.warning("%s of %s rows have no prediction, see %s", f"{rejected.count:,}", total, rejected.path)
    return written


class _RejectedRows:
    """Collects rows without text; the main process writes them beside the output after each part."""

    def __init__(self, output: Path, is_writer: bool) -> None:
        self.path = output.with_suffix(".rejected.jsonl")
        self.is_writer = is_writer
        self.waiting: list[RejectedRow] = []
        self.count = 0

    def delete_earlier(self) -> None:
        """Deletes the file of an earlier call; a file of the user is refused."""
        check_own("output", self.path)
        if self.is_writer:
            remove_own(self.path)

    def add(self, row: RejectedRow) -> None:
        """Keeps a row and writes all kept rows once their number is `ROWS_AT_A_TIME`."""
        self.waiting.append(row)
        if len(self.waiting) == ROWS_AT_A_TIME:
            self.write()

    def write(self) -> None:
        if self.waiting and self.is_writer:
            record(self.path.parent, [self.path.name])
            write_rejected_rows(self.path, self.waiting, append=True)
        self.count += len(self.waiting)
        self.waiting.clear()


def _parts(rows: StreamedFile, rejected: _RejectedRows, table: PredictedTable) -> Iterator[list[PartRow]]:
    """Groups the good rows into parts of `ROWS_AT_A_TIME` rows and writes the rejected rows."""
    part: list[PartRow] = []
    for row, original in rows.with_originals():
        if isinstance(row, RejectedRow):
            rejected.add(row)
            continue
        part.append((row[1], original[1]))
        table.check(original[1])
        if len(part) == ROWS_AT_A_TIME:
            rejected.write()
            yield part
            part = []
    rejected.write()
    if part:
        yield part


def _conformal(predictor: Predictor, is_main: bool) -> dict[str, Any] | None:
    """Returns the quantiles of a single model; those of the models of an ensemble do not fit its mean predictions."""
    found = [member.model.config.conformal for member in predictor.members]
    if len(found) == 1:
        return found[0]
    if any(each is not None for each in found) and is_main:
        logger.warning("the ensemble has no prediction sets or intervals: those of its models do not fit their mean")
    return None


def _print_parts(
    parts: Iterator[list[PartRow]],
    predicted: Callable[[Sequence[PartRow]], str],
    count_text: Callable[[str], None],
    bar: Any,
) -> int:
    written = 0
    for part in parts:
        text = predicted(part)
        sys.stdout.write(text)
        count_text(text)
        written += len(part)
        bar.update(len(part))
    return written


def _share_parts(
    parts: Iterator[list[PartRow]],
    predicted: Callable[[Sequence[PartRow]], str],
    count_text: Callable[[str], None],
    written_parts: PredictionParts,
    head: str,
    bar: Any,
    state: PartialState,
) -> int:
    """Reads the whole file in each process; each process predicts every n-th part, unless the part exists already."""
    with written_parts.held() if state.is_main_process else nullcontext():
        if state.is_main_process and (found := written_parts.begin()):
            size, folder = f"{ROWS_AT_A_TIME:,}", written_parts.folder
            logger.info("continuing after %s parts of %s rows in %s", found, size, folder)
        state.wait_for_everyone()
        written_parts.check_shared()
        written = count = 0
        for index, part in enumerate(parts):
            if index % state.num_processes == state.process_index and index not in written_parts:
                written_parts.write(index, predicted(part))
            written += len(part)
            count += 1
            bar.update(len(part))
        state.wait_for_everyone()
        if state.is_main_process:
            written_parts.join(head, count, count_text)
        state.wait_for_everyone()
    return written


def _job(predictor: Predictor, task: TaskSpec, source: str) -> dict[str, Any]:
    """Describes everything that determines the predictions of a file."""
    path = Path(source)
    models = [
        [member.model.name_or_path, _checksum(member.model), member.tokenizer.model_max_length]
        for member in predictor.members
    ]
    return {
        "input": [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else source,
        "models": models,
        "bf16": predictor.bf16,
        "task": str(task),
        "rows_a_part": ROWS_AT_A_TIME,
    }


def _checksum(model: ExtraBertPreTrainedModel) -> str:
    """Hashes the weights, which differ for a run that was trained again under the same name."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

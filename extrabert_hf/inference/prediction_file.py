"""A file of sentences or pairs in, a file of predictions out, with bounded memory, by one process or several."""

import csv
import hashlib
import io
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from scipy.special import softmax
from tqdm.auto import tqdm

from extrabert_hf.data.loading import stream_sentences
from extrabert_hf.data.reading import RejectedRow, Rows
from extrabert_hf.data.validation import write_rejected_rows
from extrabert_hf.errors import InputError, need_place_for_file
from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.inference.predictor import Member, predict_members
from extrabert_hf.machine import join_processes
from extrabert_hf.models import ExtraBertPreTrainedModel
from extrabert_hf.tasks import TaskSpec

JOB_FILE = "job.json"


class PredictionParts:
    """
    The parts of a file of predictions, in `<output>.parts/` until all are there; of one call at a time.

    Args:
        output (`Path`):
            The file that they become.
        job (`Mapping[str, Any]`):
            What makes the same predictions: parts of another job are thrown away.
    """

    def __init__(self, output: Path, job: Mapping[str, Any]) -> None:
        self.output = output
        self.job = json.dumps(job, indent=2) + "\n"
        self.folder = output.with_name(f"{output.name}.parts")

    def begin(self) -> int:
        """Makes the folder, or keeps that of the same job; gives how many parts are there. For one process to call."""
        job = self.folder / JOB_FILE
        if job.is_file() and job.read_text(encoding="utf-8") == self.job:
            return len([path for path in self.folder.iterdir() if path.name.isdecimal()])
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        job.write_text(self.job, encoding="utf-8")
        return 0

    def check_shared(self) -> None:
        """Raises [`InputError`] where the folder that another process has made is not seen."""
        if not (self.folder / JOB_FILE).is_file():
            raise InputError(f"`output` must be in a folder that all machines share, {self.folder} is not seen here.")

    def __contains__(self, index: int) -> bool:
        return self._path(index).is_file()

    def write(self, index: int, text: str) -> None:
        """Leaves a part, whole or not at all."""
        unfinished = self._path(index).with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8", newline="")
        unfinished.replace(self._path(index))

    def join(self, head: str, count: int) -> None:
        """Writes `head` and the first `count` parts to the output, takes the folder away. For one process to call."""
        unfinished = self.output.with_name(f"{self.output.name}.part")
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            file.write(head)
            for index in range(count):
                with self._path(index).open(encoding="utf-8", newline="") as part:
                    shutil.copyfileobj(part, file)
        unfinished.replace(self.output)
        shutil.rmtree(self.folder)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06}"


logger = logging.getLogger(__name__)

ROWS_AT_A_TIME = 2_000
"""Rows in memory together, the share of a process: enough to sort by length, few enough that all have a share."""

Row = dict[str, Any]


def predict_file(
    members: Sequence[Member],
    task: TaskSpec,
    source: str,
    output: str,
    *,
    batch_size: int = 64,
    bf16: bool = False,
) -> int:
    """
    Predicts each row of a file and writes it with its prediction, in the file's order.

    A class comes as `prediction` (its id), `label` (its name) and one probability a class, `p_<name>`, 0 to 1; a score
    as `prediction`, in the units of the training labels. Rows without text are left out, counted, and written with
    their reason to `<output without its ending>.rejected.jsonl`.

    Under `accelerate launch` the processes share the file, part by part, and the first one joins what they wrote. A
    call that broke off is taken up by the next of the same model, file and output.

    Args:
        members (`Sequence[tuple[ExtraBertForOneTask, PreTrainedTokenizerBase]]`):
            What [`load_members`] gives, with `task`: a model, or several whose mean answer is given.
        task ([`TaskSpec`]):
            Theirs; it may name the file's columns.
        source (`str`):
            File as [`read_rows`] takes it; `"-"` is standard input, one sentence (or two, tab between) a line.
        output (`str`):
            File ending in `.csv` or `.jsonl`, which is there once it is whole, until then in parts in
            `<output>.parts/`; `"-"` is standard output, as jsonl. With `"-"` there is one process and no going on.
        batch_size (`int`, defaults to 64):
            Sentences encoded together.
        bf16 (`bool`, defaults to `False`):
            Whether to encode in bfloat16, faster where the machine computes in it, its scores off by about 0.01.

    Returns:
        `int`: the rows predicted, by all processes.

    Raises:
        [`InputError`]: if the file, a column or the output's ending can't be used.
    """
    if output != "-" and Path(output).suffix not in (".csv", ".jsonl"):
        raise InputError(f"`output` must end in .csv or .jsonl, or be '-', got {output!r}.")
    state = join_processes()
    if "-" in (source, output) and state.num_processes > 1:
        raise InputError(f"`input` and `output` must be files for {state.num_processes} processes, got '-'.")
    rejected = _RejectedRows(Path("standard_output" if output == "-" else output), state.is_main_process)
    if source != "-" and Path(source).resolve() in (Path(output).resolve(), rejected.path.resolve()):
        raise InputError(f"`output` {output!r} would take the place of the input {source!r}: name another.")
    if output != "-":
        need_place_for_file("output", Path(output))
    rows = stream_sentences(task, source)
    rejected.forget_earlier()
    parts = _parts(rows, rejected)
    is_csv = Path(output).suffix == ".csv"

    def predicted(part: Sequence[Row]) -> str:
        sentences = [[row[name] for row in part] for name in task.sentence_columns]
        options = {"batch_size": batch_size, "bf16": bf16, "progress": state.is_main_process}
        answers = _predictions(task, predict_members(members, *sentences, **options))
        lines = [{"id": row["id"], **row, **answer} for row, answer in zip(part, answers, strict=True)]
        return _csv_lines(task, lines) if is_csv else _json_lines(lines)

    with tqdm(desc="rows", unit=" rows", disable=not state.is_main_process) as bar:
        if output == "-":
            written = _print_parts(parts, predicted, bar)
        else:
            models = [[model.name_or_path, _checksum(model), its.model_max_length] for model, its in members]
            job = {"input": _state_of(source), "models": models, "bf16": bf16}
            job |= {"task": str(task), "rows_a_part": ROWS_AT_A_TIME}
            written_parts = PredictionParts(Path(output), job)
            head = _csv_lines(task, [{name: name for name in _csv_columns(task)}]) if is_csv else ""
            written = _share_parts(parts, predicted, written_parts, head, bar, state)
    if rejected.count and state.is_main_process:
        total = f"{written + rejected.count:,}"
        logger.info("%s of %s rows have no prediction, see %s", f"{rejected.count:,}", total, rejected.path)
    return written


class _RejectedRows:
    """Rows that have no prediction, written beside the output as they come; only the first process writes."""

    def __init__(self, output: Path, is_writer: bool) -> None:
        self.path = output.with_suffix(".rejected.jsonl")
        self.is_writer = is_writer
        self.waiting: list[RejectedRow] = []
        self.count = 0

    def forget_earlier(self) -> None:
        """Takes away what an earlier call has rejected."""
        if self.is_writer:
            self.path.unlink(missing_ok=True)

    def add(self, row: RejectedRow) -> None:
        """Keeps a row and writes all kept rows once there are `ROWS_AT_A_TIME`."""
        self.waiting.append(row)
        if len(self.waiting) == ROWS_AT_A_TIME:
            self.write()

    def write(self) -> None:
        if self.waiting and self.is_writer:
            write_rejected_rows(self.path, self.waiting, append=True)
        self.count += len(self.waiting)
        self.waiting.clear()


def _parts(rows: Rows, rejected: _RejectedRows) -> Iterator[list[Row]]:
    """Groups the good rows into parts of `ROWS_AT_A_TIME` rows and writes the rejected rows."""
    part: list[Row] = []
    for row in rows:
        if isinstance(row, RejectedRow):
            rejected.add(row)
            continue
        part.append(row[1])
        if len(part) == ROWS_AT_A_TIME:
            rejected.write()
            yield part
            part = []
    rejected.write()
    if part:
        yield part


def _print_parts(parts: Iterator[list[Row]], predicted: Callable[[Sequence[Row]], str], bar: tqdm) -> int:
    written = 0
    for part in parts:
        sys.stdout.write(predicted(part))
        written += len(part)
        bar.update(len(part))
    return written


def _share_parts(
    parts: Iterator[list[Row]],
    predicted: Callable[[Sequence[Row]], str],
    written_parts: PredictionParts,
    head: str,
    bar: tqdm,
    state: PartialState,
) -> int:
    """Every process reads the whole file and predicts its share of the parts that are not there yet."""
    if state.is_main_process and (there := written_parts.begin()):
        logger.info("going on after %s parts of %s rows in %s", there, f"{ROWS_AT_A_TIME:,}", written_parts.folder)
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
        written_parts.join(head, count)
    state.wait_for_everyone()
    return written


def _state_of(source: str) -> Any:
    path = Path(source)
    return [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else source


def _checksum(model: ExtraBertPreTrainedModel) -> str:
    """Tells models of one name apart, as of a run that was trained again."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


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


def _csv_columns(task: TaskSpec) -> list[str]:
    classes = [] if task.is_regression else ["label", *_probability_columns(task)]
    return ["id", *task.sentence_columns, "prediction", *classes]


def _csv_lines(task: TaskSpec, lines: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, _csv_columns(task)).writerows(lines)
    return text.getvalue()


def _json_lines(lines: Sequence[Row]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

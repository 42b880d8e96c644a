"""
Checks rows before training: duplicates, texts in two splits, texts with several labels, the distribution of labels
and of lengths, and the score of a constant prediction.

    extrabert audit --data sample --json audit.json
    extrabert audit --data reviews.csv --find_label_errors

--find_label_errors also lists the rows whose label is probably wrong.
"""

from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path

from extrabert_hf.data.audit_report import audit_page, write_audit
from extrabert_hf.data.auditing import audit
from extrabert_hf.data.inspection import inspect_source
from extrabert_hf.data.sources import find_sources, paper_tasks_in
from extrabert_hf.data.tokenization import DEFAULT_MAX_LENGTH
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.scores import majority_baseline
from extrabert_hf.files import own_file
from extrabert_hf.pretrained.loading import load_model, load_tokenizer
from extrabert_hf.runs.label_errors import page_of
from extrabert_hf.runs.labelled_rows import LabelledRows
from extrabert_hf.tasks import AUTO_CLASSES, PAPER_TASKS, TaskSpec
from extrabert_hf.training.argument_checks import changed_fields
from extrabert_hf.training.arguments import ColumnArguments, DataArguments, TaskArguments
from extrabert_hf.training.command_parser import CommandParser
from extrabert_hf.training.defaults import is_own_data
from extrabert_hf.training.label_error_search import LabelErrorArguments, find_label_errors
from extrabert_hf.training.own_data import name_of_task


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser(
        [TaskArguments, DataArguments, LabelErrorArguments],
        prog="extrabert audit",
        description=__doc__,
        loads_models=True,
    )
    parser.add_argument(
        "--like",
        choices=[*PAPER_TASKS],
        help="Task of the paper that the rows resemble: sentences or pairs with classes, or pairs with scores. By "
        "default the columns and labels of your own rows are searched, as by extrabert train.",
    )
    parser.add_argument("--tokenizer", help="Model whose tokenizer counts truncated sentences, such as minilm.")
    parser.add_argument("--json", type=Path, help="File to write the audit to.")
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    task, data, search, arguments = make_parser().parse_args_into_dataclasses(words)
    if search.find_label_errors:
        rows_alone = {"data", "dataset_config", "max_rejected_share"}
        refuse_changed(data, "the rows of `data` are searched for label errors as they are", to_keep=rows_alone)
    if data.max_length is not None and arguments.tokenizer is None:
        raise InputError("`max_length` counts truncated sentences with --tokenizer, such as minilm; got none.")
    if not data.predict_test:
        raise InputError("`predict_test` can't be used: an audit writes no predictions. Leave out --predict_test.")
    trained = None
    if search.model is None:
        tasks = [task.apply_to(each) for each in _tasks(task, data, arguments.like)]
    else:
        if data.data is None or arguments.like is not None:
            raise InputError("`model` needs `data`, the rows to search, and has a task: leave out --like.")
        columns = {each.name for each in fields(ColumnArguments)}
        refuse_changed(task, "`model` has its own task", to_keep=columns)
        trained = load_model(search.model, search.model_task)
        tasks = [ColumnArguments.apply_to(task, trained.task)]
    if search.find_label_errors and len(tasks) > 1:
        names = " or ".join(each.name for each in tasks)
        raise InputError(f"`like` must name one task to find label errors, {names}, got none.")
    length = data.max_length or DEFAULT_MAX_LENGTH
    tokenizer = load_tokenizer(arguments.tokenizer, length) if arguments.tokenizer else None
    loaded = [data.load(each, seed=42) for each in tasks]
    audits = [audit(rows, rows.task, tokenizer, majority_baseline=majority_baseline) for rows in loaded]
    print(*map(audit_page, audits), sep="\n\n", end="\n\n")
    with own_file("json", arguments.json):
        if arguments.json is not None:
            write_audit(arguments.json, {report.task: report for report in audits})
    if search.find_label_errors:
        rows = LabelledRows(
            data.data,
            data.dataset_config,
            search.split or ("train" if trained is None else "dev"),
            data.max_rejected_share,
        )
        file = Path(search.output)
        with own_file("output", file), own_file("output", page_of(file)):
            found = find_label_errors(search, rows, loaded[0].task, trained)
            found.write(file, csv_safe=search.csv_safe)
        print(f"{found}: {file}, {page_of(file)}")


def refuse_changed(arguments: TaskArguments | DataArguments, reason: str, *, to_keep: Collection[str]) -> None:
    """Raises [`InputError`] if an argument, other than those to keep, does not have its default."""
    for name in changed_fields(arguments):
        if name not in to_keep:
            raise InputError(f"`{name}` can't be used here: {reason}. Leave out --{name}.")


def _tasks(task: TaskArguments, data: DataArguments, like: str | None) -> list[TaskSpec]:
    """Returns the tasks of the rows: the one that the user names, those of a folder, or that of own rows."""
    if like is not None:
        return [PAPER_TASKS[like]]
    names = paper_tasks_in(data.data or "")
    if not names and data.data is not None and is_own_data(data.data, data.dataset_config):
        blank = TaskSpec("own", "sentiment", class_names=AUTO_CLASSES)
        source = find_sources(blank, data.data, data.dataset_config)["train"]
        return [inspect_source(source, vars(task)).task(name_of_task(data.data, data.dataset_config))]
    if not names:
        raise InputError(f"`data` must be 'sample' or a CS224N folder, or needs `like`, got {data.data!r}.")
    return [PAPER_TASKS[name] for name in names]

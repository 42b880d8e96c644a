"""
Checks rows before training: duplicates, texts in two splits, texts with several labels, the distribution of labels
and of lengths, and the score of a constant prediction.

    extrabert audit --data sample --json audit.json
"""

from collections.abc import Sequence
from pathlib import Path

from extrabert_hf.data.audit_report import audit_page, write_audit
from extrabert_hf.data.auditing import audit
from extrabert_hf.data.sources import paper_tasks_in
from extrabert_hf.data.tokenization import DEFAULT_MAX_LENGTH
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.scores import majority_baseline
from extrabert_hf.files import own_file
from extrabert_hf.pretrained.loading import load_tokenizer
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.arguments import DataArguments, TaskArguments
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser(
        [TaskArguments, DataArguments], prog="extrabert audit", description=__doc__, loads_models=True
    )
    parser.add_argument(
        "--like",
        choices=[*PAPER_TASKS],
        help="Task of the paper that the rows resemble: sentences or pairs with classes, or pairs with scores.",
    )
    parser.add_argument("--tokenizer", help="Model whose tokenizer counts truncated sentences, such as minilm.")
    parser.add_argument("--json", type=Path, help="File to write the audit to.")
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    task, data, arguments = make_parser().parse_args_into_dataclasses(words)
    names = [arguments.like] if arguments.like else paper_tasks_in(data.data or "")
    if not names:
        raise InputError(f"`data` must be 'sample' or a CS224N folder, or needs `like`, got {data.data!r}.")
    length = data.max_length or DEFAULT_MAX_LENGTH
    tokenizer = load_tokenizer(arguments.tokenizer, length) if arguments.tokenizer else None
    loaded = [data.load(task.apply_to(PAPER_TASKS[name]), seed=42) for name in names]
    audits = [audit(rows, rows.task, tokenizer, majority_baseline=majority_baseline) for rows in loaded]
    print(*map(audit_page, audits), sep="\n\n", end="\n\n")
    with own_file("json", arguments.json):
        if arguments.json is not None:
            write_audit(arguments.json, {report.task: report for report in audits})

"""
Fine-tunes an encoder: a model for one task, or several tasks on one encoder with gradient surgery.

    extrabert train reviews.csv --dry_run
    extrabert train sts --config minilm/sts --data sample
    extrabert train multitask --config minilm/multitask --data sample
    extrabert train sst --num_processes 4

The first word is the task: sst (sentences with classes), para (pairs with classes), sts (pairs with a score) or
multitask; or data of your own: a file, a folder or a Hub id, whose columns and labels determine the head. Flags
override the YAML. --dry_run prints the plan of the run and stops.

Without --config, the YAML is `default` for data of your own, and `table1/sft_ma_cs` or `multitask` for the tasks of
the paper; `extrabert configs default` prints it. The defaults below are for what the YAML does not set.
"""

from collections.abc import Sequence

from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.command_line import parse_multitask_run, parse_run, run_parser
from extrabert_hf.training.command_parser import CommandParser
from extrabert_hf.training.finetune import run_finetuning
from extrabert_hf.training.own_data import parse_own_run
from extrabert_hf.training.packaged_configs import packaged_config
from extrabert_hf.training.run import Run


def make_parser() -> CommandParser:
    """Makes the parser of the flags: those of a run of one task, and the group `multitask`."""
    return run_parser(__doc__)


def parse_train(words: Sequence[str]) -> Run:
    """Parses the words after `extrabert train`, which [`check_words`] has checked."""
    task, *flags = words
    if task == "multitask":
        return parse_multitask_run(flags, default_config=packaged_config("multitask"), description=__doc__)
    if task in PAPER_TASKS:
        return parse_run(task, flags, default_config=packaged_config("table1/sft_ma_cs"), description=__doc__)
    return parse_own_run(task, flags, description=__doc__)


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    run_finetuning(parse_train(words))

"""
Fine-tunes an encoder: a model for one task, or several tasks on one encoder with gradient surgery.

    extrabert train sts --config minilm/sts --data sample
    extrabert train multitask --config minilm/multitask --data sample
    extrabert train sst --num_processes 4

The first word is the task: sst (sentences with classes), para (pairs with classes), sts (pairs with a score) or
multitask. Flags override the YAML.
"""

from collections.abc import Sequence

from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.command_line import Run, parse_multitask_run, parse_run
from extrabert_hf.training.finetune import finetune
from extrabert_hf.training.packaged_configs import find_config

TASKS = (*PAPER_TASKS, "multitask")


def parse_train(words: Sequence[str]) -> Run:
    """Parses the words after `extrabert train`."""
    task, *flags = words or [""]
    if task == "multitask":
        return parse_multitask_run(flags, default_config=find_config("multitask"), description=__doc__)
    if task not in PAPER_TASKS:
        raise InputError(f"the first word after `train` must be one of {', '.join(TASKS)}, got {task!r}.")
    return parse_run(task, flags, default_config=find_config("table1/sft_ma_cs"), description=__doc__)


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    finetune(parse_train(words))

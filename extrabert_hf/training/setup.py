"""The set-up of a process when training starts: token, precision, process group."""

import logging
import os
from dataclasses import fields, replace

import torch
from transformers import TrainingArguments

from extrabert_hf.errors import InputError
from extrabert_hf.machine import PRECISIONS, check_group, choose_bf16
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

logger = logging.getLogger(__name__)


def prepare_process(args: TrainingArguments) -> ExtraBertTrainingArguments:
    """
    Prepares this process for training and returns the arguments without open choices.

    The function moves `hub_token` to the environment variable `HF_TOKEN`, decides on bfloat16 autocast if `bf16` is
    `None`, sets up the device, joins the process group of a launcher, and checks that all processes use one precision.
    If the arguments are already prepared, they are returned unchanged.

    Args:
        args (`TrainingArguments`):
            The arguments of a run; they are not changed. The fields of [`ExtraBertTrainingArguments`] that a plain
            `TrainingArguments` lacks get their defaults.

    Returns:
        [`ExtraBertTrainingArguments`]: with `bf16` of `True` or `False`, its `precision_reason`, and no `hub_token`.

    Raises:
        [`InputError`]: if the processes that a launcher started form no group, or decide on different precisions.
    """
    is_plain = not isinstance(args, ExtraBertTrainingArguments)
    if is_plain:
        args = _with_our_fields(args)
    if args.precision_reason is not None:
        return args
    if args.hub_token is not None:
        os.environ["HF_TOKEN"] = args.hub_token  # the Hub's client reads it; the arguments are written to files
    bf16, reason = choose_precision(args)
    if is_plain:
        reason = "set by TrainingArguments"
    prepared = replace(args, bf16=bf16, hub_token=None)
    prepared.precision_reason = reason
    check_group(prepared.world_size)
    if prepared.world_size > 1:
        choices: list[bool | None] = [None] * prepared.world_size
        torch.distributed.all_gather_object(choices, bf16)
        if len(set(choices)) > 1:
            raise InputError(
                "The processes measured differently whether bfloat16 is faster: use --bf16 true or false."
            )
    logger.info("precision: %s (%s)", PRECISIONS[prepared.mixed_precision], reason)
    return prepared


def choose_precision(args: ExtraBertTrainingArguments) -> tuple[bool, str]:
    """
    Decides for or against bfloat16 autocast; measures the speed if the arguments leave the choice open.

    Args:
        args ([`ExtraBertTrainingArguments`]):
            The arguments of a run.

    Returns:
        `tuple[bool, str]`: the choice, and its reason in a few words.
    """
    if args.fp16:
        return False, "set by --fp16"
    if args.bf16 is not None:
        return args.bf16, "set by --bf16"
    return choose_bf16(args.use_cpu)


def _with_our_fields(args: TrainingArguments) -> ExtraBertTrainingArguments:
    values = {entry.name: getattr(args, entry.name) for entry in fields(TrainingArguments) if entry.init}
    if values["hub_strategy"] == TrainingArguments.hub_strategy:  # the default, which would push checkpoints
        values["hub_strategy"] = ExtraBertTrainingArguments.hub_strategy
    return ExtraBertTrainingArguments(**values)

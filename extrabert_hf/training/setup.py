"""The set-up of a process when training starts: token, precision, process group, packages, optimizer."""

import copy
import logging
import os
from dataclasses import fields, replace

import torch
from torch import nn
from transformers import Trainer, TrainingArguments, get_scheduler

from extrabert_hf.errors import InputError, is_installed
from extrabert_hf.machine import PRECISIONS, check_group, choose_bf16
from extrabert_hf.training.argument_checks import refused_value
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

logger = logging.getLogger(__name__)


TRACKERS = {
    "azure_ml": "azureml.core:azureml-core",
    "clearml": "clearml:clearml",
    "codecarbon": "codecarbon:codecarbon",
    "comet_ml": "comet_ml:comet-ml",
    "dagshub": "dagshub:dagshub mlflow",
    "dvclive": "dvclive:dvclive",
    "flyte": "flytekit:flytekit",
    "kubeflow": "kubeflow:kubeflow",
    "mlflow": "mlflow:mlflow",
    "neptune": "neptune:neptune",
    "swanlab": "swanlab:swanlab",
    "tensorboard": "tensorboard:tensorboard",
    "trackio": "trackio:trackio",
    "wandb": "wandb:wandb",
}
"""By value of `report_to`, the module that it needs, and the packages that pip installs."""

REHEARSED_STEPS = 1000
"""Steps of the rehearsed schedule of a run whose number of steps is not known yet."""


def prepare_process(args: TrainingArguments) -> ExtraBertTrainingArguments:
    """
    Prepares this process for training and returns the arguments without open choices.

    The function moves `hub_token` to the environment variable `HF_TOKEN`, decides on bfloat16 autocast if `bf16` is
    `None`, sets up the device, joins the process group of a launcher, and checks that all processes use one precision.
    Attention on CUDA then does not use cuDNN, in the whole process.
    If the arguments are already prepared, they are returned unchanged.

    Args:
        args (`TrainingArguments`):
            The arguments of a run; they are not changed. The fields of [`ExtraBertTrainingArguments`] that a plain
            `TrainingArguments` lacks get their defaults.

    Returns:
        [`ExtraBertTrainingArguments`]: with `bf16` of `True` or `False`, its `precision_reason`, and no `hub_token`.

    Raises:
        [`InputError`]: if the processes that a launcher started form no group.
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
    check_machine(prepared)
    torch.backends.cuda.enable_cudnn_sdp(False)  # takes up to a second to prepare attention for each shape of a batch
    if prepared.world_size > 1:
        choices: list[bool | None] = [None] * prepared.world_size
        torch.distributed.all_gather_object(choices, bf16)
        if len(set(choices)) > 1:  # one of them lacks bfloat16, or was disturbed while it measured
            reason = "bfloat16 was not faster on all processes; --bf16 true or false sets it"
            prepared = replace(prepared, bf16=False)
            prepared.precision_reason = reason
    logger.debug("precision: %s (%s)", PRECISIONS[prepared.mixed_precision], reason)
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


def check_machine(args: TrainingArguments) -> None:
    """
    Checks that packages and hardware for the arguments exist, and rehearses optimizer and schedule on one parameter.

    Args:
        args (`TrainingArguments`):
            The arguments of a run whose device is set up.

    Raises:
        [`InputError`]: for a package that is not installed, or what the optimizer or the schedule refuses.
    """
    for tracker in filter(None, args.report_to):
        if tracker not in TRACKERS:
            raise InputError(f"`report_to` must be of {', '.join(map(repr, TRACKERS))}, got {tracker!r}.")
        module, _, packages = TRACKERS[tracker].partition(":")
        if not is_installed(module) and not (tracker == "tensorboard" and is_installed("tensorboardX")):
            raise InputError(f"`report_to` {tracker!r} needs a package that is not installed: pip install {packages}")
    if args.use_liger_kernel and not is_installed("liger_kernel"):
        raise InputError("`use_liger_kernel` needs a package that is not installed: pip install liger-kernel")
    if args.torch_compile:
        backends = torch._dynamo.list_backends(exclude_tags=())
        if args.torch_compile_backend not in backends:
            raise InputError(
                f"`torch_compile_backend` must be one of {', '.join(map(repr, backends))}, "
                f"got {args.torch_compile_backend!r}."
            )
    if args.fsdp and args.world_size == 1:
        raise InputError("`fsdp` needs several processes: add --num_processes 2.")
    if args.train_sampling_strategy != "random" and args.length_buckets:
        logger.warning("`train_sampling_strategy` has no effect: it needs --length_buckets false")
    if not args.deepspeed:
        rehearse(args)


def rehearse(args: TrainingArguments) -> None:
    """Builds optimizer and schedule for a model of one weight; raises [`InputError`] for what they refuse."""
    model = nn.LayerNorm(1)  # draws no random numbers
    with refused_value("optim", args.optim.value):
        optimizer_class, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
        plain = copy.copy(args)
        plain.optim_args = None
        if args.optim_args and (optimizer_class, kwargs) == Trainer.get_optimizer_cls_and_kwargs(plain, model):
            logger.warning("`optim_args` %r has no effect on `optim` %r", args.optim_args, args.optim.value)
        optimizer = optimizer_class(
            [{"params": list(model.parameters()), "lr": args.learning_rate, "weight_decay": args.weight_decay}],
            **kwargs,
        )
    steps = args.max_steps if args.max_steps > 0 else REHEARSED_STEPS
    with refused_value(
        "lr_scheduler_type", args.lr_scheduler_type.value, "lr_scheduler_kwargs", args.lr_scheduler_kwargs
    ):
        get_scheduler(
            args.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=min(steps, args.get_warmup_steps(steps)),
            num_training_steps=steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,
        )

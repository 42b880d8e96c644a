"""The processes that a launcher has started."""

import atexit
import os
from datetime import timedelta

import torch
from accelerate import PartialState

from extrabert_hf.errors import InputError


def join_processes() -> PartialState:
    """
    Joins this process to those that `accelerate launch` has started with it, each on its own device.

    They wait for each other for a week: one may have hours of work more than another.

    Raises:
        [`InputError`]: if they find no group, each alone with the whole work.
    """
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(days=7))
    check_group(state.num_processes)
    return state


def check_group(size: int) -> None:
    """Refuses a group of `size` processes where the launcher has started another number; at its exit one leaves it."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if size != started:
        raise InputError(
            f"The launcher started {started} processes, but they make a group of {size}: "
            "see recipes/configs/accelerate for launch configs that work."
        )
    if size > 1:
        atexit.register(leave_group)


def leave_group() -> None:
    """Ends the group's threads: a process that exits with them may abort instead."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

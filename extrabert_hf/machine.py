"""The machine a command runs on: its hardware, its memory allocator, its precision, the processes of a launcher."""

import atexit
import ctypes
import os
import platform
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from extrabert_hf.errors import InputError

CPU_INFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Names the processor, PyTorch's threads and version, and the accelerator where there is one."""
    machine = {"cpu": _cpu_model(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        machine["accelerator"] = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return machine


def _cpu_model() -> str:
    """As Linux names it; elsewhere, and where Linux gives no name (ARM), the architecture."""
    text = CPU_INFO.read_text() if CPU_INFO.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BLOCK = 2**27
"""Bytes: a larger block goes back as ever, the hole that it would leave might stay unused."""
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """
    Tells glibc's malloc to keep what is freed for what comes next; nothing where another one allocates.

    Left alone, it maps large blocks anew each time, and the kernel zeroes them page by page, as it does in each step
    the gradient of MiniLM's word embeddings, 47 MB.

    Returns:
        `bool`: whether it was told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK) and mallopt(M_TRIM_THRESHOLD, LARGEST_INT))


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


WORTH_IT = 1.2
"""Autocast adds casts of its own: a product must gain more than this to gain in the end."""

PRECISIONS = {"bf16": "bfloat16 autocast", "fp16": "float16 autocast", "no": "float32"}
"""What the `Trainer` calls mixed precision -> what it is."""


def choose_bf16(use_cpu: bool = False) -> tuple[bool, str]:
    """
    Decides for or against bfloat16 autocast on the device that will train.

    On CUDA the hardware's support decides, on CPU a matrix product of an encoder layer's size, timed in both types.

    Args:
        use_cpu (`bool`, defaults to `False`):
            Whether training runs on the CPU though an accelerator is there.

    Returns:
        `tuple[bool, str]`: the choice, and its reason in a few words.
    """
    if not use_cpu and torch.cuda.is_available():
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        return supported, "the GPU computes in it" if supported else "the GPU does not compute in it"
    if not use_cpu and torch.accelerator.is_available():
        return False, f"not tried on {torch.accelerator.current_accelerator().type}"
    times = _matmul_seconds(torch.bfloat16) / _matmul_seconds(torch.float32)
    return times * WORTH_IT < 1, f"its matrix products take {times:.2g} times as long as float32's on this CPU"


def _matmul_seconds(dtype: torch.dtype) -> float:
    states, weight = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        torch.matmul(states, weight)
        seconds.append(time.perf_counter() - start)
    return min(seconds[2:])  # the first ones warm up

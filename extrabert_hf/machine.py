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
    """Returns the processor, PyTorch's threads and version, and the accelerator if the machine has one."""
    machine = {"cpu": _cpu_model(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        machine["accelerator"] = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return machine


def _cpu_model() -> str:
    """Returns the processor's name on Linux; the architecture on other systems, or if Linux has no name (ARM)."""
    text = CPU_INFO.read_text() if CPU_INFO.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BLOCK = 2**27
"""Size in bytes up to which freed blocks are kept; larger blocks go back to the kernel."""
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """
    Makes glibc malloc keep freed blocks; has no effect with another allocator.

    By default glibc maps large blocks anew for each allocation, and the kernel zeroes every page: in each training
    step 47 MB for the gradient of MiniLM's word embeddings alone.

    Returns:
        `bool`: whether glibc accepted the setting.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK) and mallopt(M_TRIM_THRESHOLD, LARGEST_INT))


def join_processes() -> PartialState:
    """
    Joins this process to the process group of `accelerate launch`, where each process has its own device.

    The time-out is a week, because one process may work hours longer than another.

    Raises:
        [`InputError`]: if the launched processes do not form one group.
    """
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(days=7))
    check_group(state.num_processes)
    return state


def check_group(size: int) -> None:
    """Raises [`InputError`] if the group has fewer processes than the launcher started; leaves the group at exit."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if size != started:
        raise InputError(
            f"The launcher started {started} processes, but they make a group of {size}: "
            "`extrabert configs accelerate/multi_gpu` prints a launch config that works."
        )
    if size > 1:
        atexit.register(leave_group)


def leave_group() -> None:
    """Ends the threads of the process group: a process that exits while they run may abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


WORTH_IT = 1.2
"""Speed-up of a matrix product above which autocast is used: autocast also costs time for casts."""

PRECISIONS = {"bf16": "bfloat16 autocast", "fp16": "float16 autocast", "no": "float32"}
"""By value of `TrainingArguments.mixed_precision`, the name of the precision."""


def choose_bf16(use_cpu: bool = False) -> tuple[bool, str]:
    """
    Decides for or against bfloat16 autocast on the device that trains.

    On CUDA the hardware's support decides. On the CPU the function times a matrix product of the size of an encoder
    layer in both types.

    Args:
        use_cpu (`bool`, defaults to `False`):
            Whether training runs on the CPU although the machine has an accelerator.

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
    return min(seconds[2:])  # the first two warm up

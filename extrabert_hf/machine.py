"""The machine a command runs on: its hardware, its memory allocator, its precision, the processes of a launcher."""

import atexit
import ctypes
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
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


PATIENCE = 20.0
"""Seconds that worker processes get to end, before they are killed."""


def start_worker(words: Sequence[str], slot: int, workers: int) -> subprocess.Popen:
    """
    Starts a Python process that shares the cores and the GPUs of the machine with others.

    Args:
        words (`Sequence[str]`):
            The words of the command line after `python -m`.
        slot (`int`):
            Number of the process among those that run at a time, from 0.
        workers (`int`):
            Number of processes that run at a time.
    """
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    all_gpus = ",".join(map(str, range(torch.cuda.device_count())))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", all_gpus).split(",")
    if len(visible) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = visible[slot % len(visible)]
    # in a session of its own: Ctrl-C reaches this process alone, which ends its workers
    return subprocess.Popen([sys.executable, "-m", *words], env=environment, start_new_session=True)


def end_workers(processes: Sequence[subprocess.Popen]) -> None:
    """Ends processes and waits for them; kills those that have not ended after [`PATIENCE`] seconds."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
    times = _bf16_times()
    return times * WORTH_IT < 1, f"its matrix products take {times:.2g} times as long as float32's on this CPU"


def _bf16_times() -> float:
    """Measures a matrix product in both types in turn: the smallest times are those without other work in between."""
    seconds: dict[torch.dtype, list[float]] = {torch.bfloat16: [], torch.float32: []}
    for _ in range(12):
        for dtype, of_dtype in seconds.items():
            states, weight = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
            start = time.perf_counter()
            torch.matmul(states, weight)
            of_dtype.append(time.perf_counter() - start)
    return min(seconds[torch.bfloat16][2:]) / min(seconds[torch.float32][2:])  # the first two warm up

"""`--num_processes N` of a command: `accelerate launch` starts the command in N processes."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from extrabert_hf.errors import InputError

PARALLEL = ("train", "predict", "table1")
"""The commands that share their work among several processes."""

FLAG = "--num_processes"
SPELLINGS = (FLAG, "--num-processes")


def take_num_processes(words: Sequence[str]) -> tuple[int | None, list[str]]:
    """
    Removes `--num_processes N` from the words of a command line.

    Returns:
        `tuple[int | None, list[str]]`: the number, `None` without the flag, and the other words.

    Raises:
        [`InputError`]: if the number is not 1 or more.

    Example:
        >>> take_num_processes(["sts", "--num_processes", "2", "--data", "sample"])
        (2, ['sts', '--data', 'sample'])
    """
    kept, number, waits = [], None, False
    for word in words:
        if waits or word.startswith(tuple(f"{flag}=" for flag in SPELLINGS)):
            number, waits = word if waits else word.partition("=")[2], False
        elif word in SPELLINGS:
            number, waits = "", True
        else:
            kept.append(word)
    if number is None:
        return None, kept
    if not number.isdecimal() or int(number) < 1:
        raise InputError(f"`num_processes` must be a whole number, 1 or more, got {number!r}.")
    return int(number), kept


def launch_processes(command: str, words: Sequence[str], num_processes: int) -> NoReturn:
    """
    Replaces this process by `accelerate launch`, which starts the command in several processes of this machine.

    The processes use one GPU each, or the CPU with the backend gloo on a machine without a GPU.

    Args:
        command (`str`):
            One of [`PARALLEL`].
        words (`Sequence[str]`):
            The words of the command line after the command.
        num_processes (`int`):
            Number of processes.

    Raises:
        [`InputError`]: for another command, or in a process that a launcher has started.
    """
    if command not in PARALLEL:
        raise InputError(f"`num_processes` is for {', '.join(PARALLEL)}; `extrabert {command}` runs in one process.")
    if "LOCAL_RANK" in os.environ:
        raise InputError("`num_processes` can't be combined with a launcher: leave out the flag or the launcher.")
    # with every value given, accelerate prints no list of defaults
    options = ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", f"{FLAG}={num_processes}"]
    options += ["--multi_gpu"] if num_processes > 1 else []  # starts several processes, also without a GPU
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options]
    sys.stdout.flush()
    os.execv(sys.executable, [*launcher, "-m", "extrabert_hf", command, *words])

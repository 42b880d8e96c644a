"""A test without the mark `launch` or `slow` fails if it starts a process, however it does that."""

import ctypes.util
import multiprocessing
import os
import platform
import subprocess
import sys

import pytest

NOTHING = [sys.executable, "-c", ""]


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run(NOTHING),
        lambda: subprocess.run("true", shell=True),
        lambda: subprocess.Popen(NOTHING),
        lambda: os.posix_spawn(sys.executable, NOTHING, os.environ),
        lambda: os.system("true"),
        lambda: os.fork(),
        lambda: multiprocessing.get_context("spawn").Process(target=print).start(),
        lambda: multiprocessing.get_context("fork").Process(target=print).start(),
    ],
    ids=["run", "shell", "Popen", "posix_spawn", "system", "fork", "spawned worker", "forked worker"],
)
def test_an_unmarked_test_that_starts_a_process_fails(start):
    with pytest.raises(pytest.fail.Exception, match="without the mark `launch` or `slow` starts a process"):
        start()


def test_a_description_of_the_machine_is_no_process_of_the_test():
    subprocess.run(["uname", "-p"], stdout=subprocess.DEVNULL, check=False)
    platform.processor()
    ctypes.util.find_library("c")


@pytest.mark.launch
def test_a_marked_test_may_start_processes():
    assert subprocess.run(NOTHING).returncode == 0

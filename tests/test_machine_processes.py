import signal
import subprocess
import sys

import pytest
import torch

from extrabert_hf import machine
from extrabert_hf.errors import InputError
from extrabert_hf.machine import check_group, end_workers, join_processes, leave_group, start_worker


def test_without_a_launcher_a_process_is_alone():
    state = join_processes()
    assert (state.num_processes, state.process_index, state.is_main_process) == (1, 0, True)


def test_processes_that_find_no_group_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="The launcher started 2 processes, but they make a group of 1"):
        check_group(1)
    check_group(2)


def test_a_group_is_left_once_and_no_group_is_none(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    leave_group()
    assert not torch.distributed.is_initialized()
    leave_group()


@pytest.mark.parametrize(
    ("given", "devices", "expected"),
    [
        (None, 2, ["0", "1", "0"]),
        ("4,7", 2, ["4", "7", "4"]),
        ("3", 1, ["3"] * 3),
        (None, 1, [None] * 3),
        ("", 0, [""]),
    ],
)
def test_workers_side_by_side_share_the_gpus(given, devices, expected, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    monkeypatch.setattr("subprocess.Popen", lambda command, env, start_new_session: env.get("CUDA_VISIBLE_DEVICES"))
    assert [start_worker([], slot, len(expected)) for slot in range(len(expected))] == expected


@pytest.mark.launch
def test_workers_are_ended_and_those_that_do_not_end_are_killed(monkeypatch):
    monkeypatch.setattr(machine, "PATIENCE", 0.5)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"
    )
    programs = [stubborn, "import time; print(1, flush=True); time.sleep(99)"]
    pipe = {"stdout": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", program], **pipe) for program in programs]
    for process in processes:
        process.stdout.readline()
    end_workers(processes)
    assert [process.returncode for process in processes] == [-signal.SIGKILL, -signal.SIGTERM]
    for process in processes:
        process.stdout.close()

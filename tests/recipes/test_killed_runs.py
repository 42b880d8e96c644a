"""A run that is killed without warning and resumed ends, bit for bit, as one that was left alone."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import tiny_run

ROOT = Path(__file__).parents[2]
CPU_PAIR = ROOT / "recipes" / "configs" / "accelerate" / "two_cpu_processes.yaml"
STEPS = 34  # an epoch has 17
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def command(encoder, output_dir, processes, *words):
    accelerate = str(Path(sys.executable).parent / "accelerate")
    launcher = ["--config_file", str(CPU_PAIR)] if processes == 2 else []
    return [
        *(accelerate, "launch", *launcher, "recipes/multitask.py"),
        *tiny_run(encoder, output_dir),
        *("--max_steps", str(STEPS), "--per_device_train_batch_size", str(16 // processes), "--learning_rate", "1e-3"),
        *("--save_strategy", "steps", "--save_steps", "7", "--eval_strategy", "steps", "--eval_steps", "7"),
        *("--load_best_model_at_end", "false"),
        *("--head_dropout", "0.1", "--epoch_length", "longest", *words),
    ]


def run_to_the_end(words):
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def last_step(noted):
    whole_lines = noted.read_text().split("\n")[1:-1] if noted.exists() else []
    return int(whole_lines[-1].split(",")[0]) if whole_lines else 0


def kill_at(words, output_dir, step):
    """Kills all processes of a run, in whatever process group, once it has noted the gradients of `step`."""
    process = psutil.Popen(words, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    noted = output_dir / "gradient_conflicts.csv"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None and last_step(noted) < step:
        time.sleep(0.002)
    assert process.poll() is None, "the run has ended before it could be killed"
    killed = [process, *process.children(recursive=True)]
    for each in killed:
        each.kill()
    psutil.wait_procs(killed, timeout=30)


@pytest.mark.launch
@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_ends_bit_for_bit_as_one_left_alone(processes, tiny_encoder, tmp_path):
    run_to_the_end(command(tiny_encoder, tmp_path / "whole", processes))
    drawn = random.Random(processes)
    killed = tmp_path / "killed"
    for first, last in ((8, 14), (22, 30)):  # in each epoch, after a first checkpoint
        resume = ["--resume_from_checkpoint", "last"] if killed.exists() else []
        kill_at(command(tiny_encoder, killed, processes, *resume), killed, drawn.randint(first, last))
    run_to_the_end(command(tiny_encoder, killed, processes, "--resume_from_checkpoint", "last"))
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", killed))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    conflicts = [(folder / "gradient_conflicts.csv").read_text() for folder in (tmp_path / "whole", killed)]
    assert conflicts[0] == conflicts[1]
    assert len(conflicts[0].splitlines()) == 1 + 3 * STEPS

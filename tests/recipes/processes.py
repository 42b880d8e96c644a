"""Starts recipes in other processes, without the Hub and on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CPU_PAIR = ROOT / "recipes" / "configs" / "accelerate" / "two_cpu_processes.yaml"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(*words, check=True):
    """Runs a program from the root of the repository, and by default asserts that it succeeds."""
    words = [str(word) for word in words]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done


def launch(program, *words, processes=1):
    """Runs a program with `accelerate launch` in one process or in two."""
    launcher = ("--config_file", CPU_PAIR) if processes == 2 else ()
    return run(Path(sys.executable).parent / "accelerate", "launch", *launcher, program, *words)

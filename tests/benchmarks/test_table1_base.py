import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "table1_base.sh"

pytestmark = [pytest.mark.launch, pytest.mark.skipif(os.name != "posix", reason="needs bash")]


def script(*words):
    environment = os.environ | {"PYTHON": sys.executable, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(["bash", SCRIPT, *map(str, words)], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("words", [[], ["pack", "mpnet"], ["run", "encoder", "data"], ["other"]])
def test_without_all_words_it_says_what_to_type(words):
    finished = script(*words)
    assert finished.returncode == 2 and "table1_base.sh pack mpnet FOLDER" in finished.stderr


@pytest.mark.slow
def test_a_packed_encoder_runs_the_table(tiny_encoder, tmp_path):
    packed = script("pack", tiny_encoder, tmp_path / "encoder")
    assert packed.returncode == 0, packed.stderr
    assert all(path.stat().st_size < 60e6 for path in (tmp_path / "encoder").glob("*.safetensors"))
    few = ["--rows", "rr", "--seeds", "42", "--max_steps", "1", "--max_length", "40"]
    finished = script("run", tmp_path / "encoder", "sample", tmp_path / "table", *few)
    assert finished.returncode == 0, finished.stderr
    assert "RR" in (tmp_path / "table" / "table1.md").read_text()

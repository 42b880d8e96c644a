import json
import sys

import pytest

from extrabert_hf.cli.launch import launch_processes, take_num_processes
from extrabert_hf.cli.main import main
from extrabert_hf.errors import InputError
from tests.conftest import tiny_run
from tests.recipes.processes import run


@pytest.mark.parametrize("flag", [["--num_processes", "2"], ["--num_processes=2"]])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_the_flag_is_found_anywhere_and_the_other_words_are_kept_in_order(flag, place):
    words = ["sts", "--data", "sample"]
    assert take_num_processes([*words[:place], *flag, *words[place:]]) == (2, words)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_a_number_that_is_none_is_named(value):
    with pytest.raises(InputError, match=f"`num_processes` must be a whole number, 1 or more, got '{value}'"):
        take_num_processes([f"--num_processes={value}"])


def test_a_flag_without_a_number_is_named():
    with pytest.raises(InputError, match="`num_processes` must be a whole number, 1 or more, got ''"):
        take_num_processes(["sts", "--num_processes"])


def test_a_command_of_one_process_refuses_several(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "runs/a", "--num_processes", "2"])
    assert "`extrabert compare` runs in one process" in capsys.readouterr().err


def test_a_launched_process_launches_no_others(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(InputError, match="can't be combined with a launcher"):
        launch_processes("train", ["sts"], 2)


@pytest.mark.launch
@pytest.mark.slow
def test_two_processes_train_one_model_without_words_of_the_launcher(tiny_encoder, tmp_path):
    words = tiny_run(tiny_encoder, tmp_path / "run", "--max_steps", "2", "--data", "sample")
    done = run(sys.executable, "-m", "extrabert_hf", "train", "sts", *words, "--num_processes", "2")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "accelerate" not in done.stderr
    assert done.stderr.count("training ExtraBertForSimilarity") == 1

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from extrabert_hf.errors import InputError
from extrabert_hf.search.arguments import SearchArguments
from extrabert_hf.search.runner import run_search
from extrabert_hf.search.study import finished_trials, open_study

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
SPACE = (
    "run_cap: 2\nparameters:\n  learning_rate: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-2}\n"
    "  pooling: {values: [mean, multiplicative]}\n  head_dropout: {value: 0.0}\n"
)


@pytest.fixture
def words(tiny_encoder, tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    return [
        *("--task", "sts", "--space", str(tmp_path / "space.yaml"), "--output_dir", str(tmp_path / "search")),
        *("--workers", "2", "--heartbeat", "2", "--pruner", "none"),
        *("--model_name_or_path", tiny_encoder, "--data", "sample", "--bf16", "false", "--num_train_epochs", "1"),
    ]


@pytest.mark.slow
@pytest.mark.launch
def test_a_killed_search_goes_on_and_leaves_a_table_a_figure_and_the_best_yaml(words, tmp_path):
    command = [sys.executable, "recipes/search.py", *words]
    folder = tmp_path / "search"
    search = psutil.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(folder.glob("trials/*/data_audit.json")):
        time.sleep(0.05)
    for process in [*search.children(recursive=True), search]:
        process.send_signal(signal.SIGKILL)
    search.wait()
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 trials: 2 complete" in done.stdout and "best: trial" in done.stdout
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["state"]) for row in rows] == [(str(plan), "complete") for plan in range(2)]
    assert len({row["learning_rate"] for row in rows}) == 2
    best = max(rows, key=lambda row: float(row["score"]))
    found = yaml.safe_load((folder / "best.yaml").read_text())
    assert found["trainer"]["learning_rate"] == float(best["learning_rate"])
    assert found["model"]["head_dropout"] == 0.0 and found["data"]["data"] == "sample"
    assert (folder / "trials.png").stat().st_size > 10_000
    kept = [path.parent.name for path in folder.glob("trials/*/model.safetensors")]
    assert kept == [f"{int(best['trial']):03d}"]
    assert not list(folder.glob("trials/*/checkpoint-*"))
    study = open_study(SearchArguments(task="sts", output_dir=str(folder)))
    assert len(finished_trials(study)) == 2 and len(study.trials) > 2  # what was killed was begun again


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--learning_rat", "1"], "unrecognized arguments: --learning_rat"),
        (["--resume_from_checkpoint", "last"], "--resume_from_checkpoint is not for the runs of a search"),
        (["--eval_strategy", "no", "--load_best_model_at_end", "false"], "`eval_strategy` must be 'epoch' or 'steps'"),
    ],
)
def test_flags_that_no_trial_could_have_are_refused_before_any(flags, message, tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    arguments = SearchArguments(task="sts", space=str(tmp_path / "space.yaml"), output_dir=str(tmp_path / "search"))
    with pytest.raises(InputError, match=message):
        run_search(arguments, flags, [])


def test_a_study_is_not_gone_on_with_by_another_search(tmp_path, monkeypatch):
    (tmp_path / "space.yaml").write_text(SPACE)
    arguments = SearchArguments(task="sts", space=str(tmp_path / "space.yaml"), output_dir=str(tmp_path / "search"))
    monkeypatch.setattr("extrabert_hf.search.runner.plan_trials", lambda study, count: None)  # nothing to do
    assert run_search(arguments, [], []) == [f"0 trials: 0 complete; {tmp_path / 'search' / 'trials.csv'}"]
    with pytest.raises(InputError, match=r"was begun with flags \[\], now \['--seed', '7'\]: name another"):
        run_search(arguments, ["--seed", "7"], [])

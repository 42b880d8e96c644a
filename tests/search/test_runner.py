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
from optuna.trial import TrialState

from extrabert_hf.errors import InputError
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.search.arguments import SearchArguments
from extrabert_hf.search.results import write_results
from extrabert_hf.search.runner import TrialLog, run_search
from extrabert_hf.search.space import read_space
from extrabert_hf.search.study import PLAN, finished_trials, open_study, plan_trials, renew_lost, trials_of_plans
from extrabert_hf.search.trial import ScoresOfTrial, parse_search, run_next_trial, run_text

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


def test_a_trial_that_was_killed_goes_on_and_one_with_other_words_begins_anew(words, tmp_path, monkeypatch):
    arguments, flags = parse_search(
        [*words, "--disable_tqdm", "true", "--save_strategy", "steps", "--save_steps", "5"]
    )
    flags += ["--eval_strategy", "steps", "--eval_steps", "5", "--seed", "1"]
    study = open_study(arguments)
    plan_trials(study, 1)
    folder = tmp_path / "search" / "trials" / "000"

    class Killed(BaseException):
        pass

    def kill(self, args, state, control, **kwargs):
        if state.global_step == 12:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(ScoresOfTrial, "on_step_end", kill, raising=False)
        run_next_trial(arguments, flags, read_space(arguments.space))
    assert RunFolder(folder).last_checkpoint.name == "checkpoint-10"
    ((trial,),) = trials_of_plans(study).values()
    if trial.state == TrialState.RUNNING:
        study.tell(trial.number, state=TrialState.FAIL)
    renew_lost(study)
    steps = []
    monkeypatch.setattr(
        ScoresOfTrial,
        "on_step_end",
        lambda self, args, state, control, **_: steps.append(state.global_step),
        raising=False,
    )
    run_next_trial(arguments, flags, read_space(arguments.space))
    assert steps[0] == 11
    (found,) = finished_trials(study)
    assert list(found.intermediate_values) == list(range(1, len(found.intermediate_values) + 1))
    assert found.value == max(found.intermediate_values.values())
    assert found.params == trial.params
    study.enqueue_trial({}, user_attrs={PLAN: 1})
    (tmp_path / "search" / "trials" / "000").rename(tmp_path / "search" / "trials" / "001")  # of other words
    steps.clear()
    run_next_trial(arguments, flags, read_space(arguments.space))
    assert steps[0] == 1


def test_a_trial_with_the_default_settings_is_known_again(tmp_path):
    arguments, flags = parse_search(["--task", "sts", "--data", str(tmp_path / "own.csv"), "--config", "default"])
    words, folder = ["sts", run_text(arguments, flags)], RunFolder(tmp_path)
    assert ".inf: 1.0e-05" in words[1]
    folder.write_words(words)
    assert folder.read_words() == words


def test_a_hopeless_trial_is_pruned(words, tmp_path, monkeypatch):
    arguments, flags = parse_search([*words, "--disable_tqdm", "true"])
    flags[flags.index("--num_train_epochs") + 1] = "2"
    study = open_study(arguments)
    plan_trials(study, 1)
    monkeypatch.setattr("optuna.pruners.NopPruner.prune", lambda self, study, trial: True)
    run_next_trial(arguments, flags, read_space(arguments.space))
    (trial,) = finished_trials(study)
    assert trial.state == TrialState.PRUNED and len(trial.intermediate_values) == 1
    lines = write_results(study, arguments, flags, read_space(arguments.space))
    assert lines[0].startswith("1 trials: 0 complete, 1 pruned")
    assert not list((tmp_path / "search").glob("trials/*/checkpoint-*"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--learning_rat", "1"], "`--learning_rat` is not a flag"),
        (["--resume_from_checkpoint", "last"], "`resume_from_checkpoint` can't be set for the runs of a search"),
        (["--dry_run"], "`dry_run` is not for a search"),
        (["--push-to-hub", "true"], "`push_to_hub` can't be set for the runs of a search"),
        (["--eval_strategy", "no", "--load_best_model_at_end", "false"], "`eval_strategy` must be 'epoch' or 'steps'"),
        (
            ["--eval_strategy=steps", "--save_strategy=steps", "--eval_steps=5", "--save_steps=10"],
            "`save_steps` must be `eval_steps` in a search, which keeps the best step, got 10 and 5",
        ),
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
    with pytest.raises(InputError, match=r"was started with trainer\.seed the default, now 7: use another"):
        run_search(arguments, ["--seed", "7"], [])
    (tmp_path / "run.yaml").write_text("trainer:\n  learning_rate: 1.0e-4\n")
    with pytest.raises(InputError, match=r"was started with trainer\.learning_rate the default, now 0\.0001: use"):
        run_search(arguments, ["--config", str(tmp_path / "run.yaml")], [])


def test_a_study_has_no_fewer_trials_than_it_was_begun_with(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    fields = {"task": "sts", "space": str(tmp_path / "space.yaml"), "output_dir": str(tmp_path / "search")}
    plan_trials(open_study(SearchArguments(**fields)), 4)
    with pytest.raises(InputError, match="`n_trials` must be 4 or more, the number of trials in the study, got 3"):
        run_search(SearchArguments(**fields, n_trials=3), [], [])


def test_each_trial_is_told_by_what_became_of_it(tmp_path, caplog):
    study = open_study(SearchArguments(task="sts", output_dir=str(tmp_path)))
    plan_trials(study, 2)
    for state, values in ((TrialState.COMPLETE, [0.25]), (TrialState.PRUNED, None)):
        trial = study.ask()
        trial.report(0.5, 1)
        study.tell(trial, values, state=state)
    with caplog.at_level("INFO"):
        assert TrialLog(2, 0).log_finished(study)
    assert [record.message.split(" (")[0] for record in caplog.records] == ["1 of 2: 0.2500", "2 of 2: pruned"]


def test_a_study_keeps_the_precision_it_was_begun_with(tmp_path, monkeypatch):
    (tmp_path / "space.yaml").write_text(SPACE)
    arguments = SearchArguments(task="sts", space=str(tmp_path / "space.yaml"), output_dir=str(tmp_path / "search"))
    last_flags = []
    monkeypatch.setattr(
        "extrabert_hf.search.runner.start_worker", lambda words, slot, workers: last_flags.append(words[-1])
    )
    monkeypatch.setattr("extrabert_hf.search.runner.PAUSE", 0.0)
    for measured in (True, False):  # as another machine might
        monkeypatch.setattr("extrabert_hf.training.setup.choose_bf16", lambda cpu, found=measured: (found, ""))
        monkeypatch.setattr("extrabert_hf.search.runner.renew_lost", stop_at(3))
        with pytest.raises(KeyboardInterrupt):
            run_search(arguments, [], ["--task", "sts"])
    assert len(last_flags) > 2 and set(last_flags) == {"--bf16=True"}


def stop_at(looks):
    left = iter(range(looks))

    def look(study):
        if next(left, None) is None:
            raise KeyboardInterrupt

    return look

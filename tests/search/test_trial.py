import optuna
import pytest
import yaml

from extrabert_hf.errors import InputError
from extrabert_hf.search.trial import parse_search, parse_trial, train, words_of_search
from extrabert_hf.training.command_line import parse_run, yaml_of_flags
from extrabert_hf.training.own_data import parse_own_run
from tests.conftest import TINY_RUN
from tests.table_files import write_rows


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"text_a": f"a film {n}", "text_b": f"the film {n}", "sim": n / 20, "mood": "ab"[n % 2]} for n in range(20)
    ]
    write_rows(tmp_path / "scores.csv", [{k: v for k, v in row.items() if k != "mood"} for row in rows])
    write_rows(tmp_path / "classes.csv", [{k: v for k, v in row.items() if k != "sim"} for row in rows])
    write_rows(tmp_path / "films.csv", [{k: v for k, v in row.items() if k in ("text_a", "mood")} for row in rows])
    return tmp_path


@pytest.mark.parametrize(("file", "task"), [("scores.csv", "sts"), ("classes.csv", "para"), ("films.csv", "sst")])
def test_a_search_on_own_data_has_the_runs_of_a_training_on_it(pairs, file, task):
    words = words_of_search([file, "--n_trials", "3", "--weight_decay", "0.1", "--bf16", "false"])
    arguments, flags = parse_search(words)
    assert (arguments.task, arguments.n_trials, arguments.study_name) == (task, 3, file.partition(".")[0])
    assert str(arguments.folder) == f"runs/search/{arguments.study_name}"
    run, own = parse_trial(arguments, flags), parse_own_run(file, ["--weight_decay", "0.1", "--bf16", "false"])
    (spec,), (of_own,) = run.specs.values(), own.specs.values()
    fields = ("name", "head", "class_names", "label_range", "sentence1_column", "sentence2_column", "label_column")
    assert all(getattr(spec, field) == getattr(of_own, field) for field in fields)
    assert run.rules.values(18, 1) == own.rules.values(18, 1) and run.training.weight_decay == 0.1
    (pairs / "best.yaml").write_text(yaml.safe_dump(yaml_of_flags(flags)))
    assert parse_run(task, ["--config", "best.yaml", "--bf16", "false"]).specs == run.specs


def test_the_first_word_of_a_search_may_be_a_task_or_missing(pairs):
    assert words_of_search(["sts", "--seed", "1"]) == ["--task", "sts", "--seed", "1"]
    assert words_of_search(["--task", "sts"]) == ["--task", "sts"] and words_of_search([]) == []
    with pytest.raises(InputError, match="leave out `--task`"):
        words_of_search(["films.csv", "--task=sst"])


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
def test_a_trial_on_own_data_trains_with_the_default_settings(pairs, tiny_encoder):
    steps = ["--eval_strategy=steps", "--save_strategy=steps", "--eval_steps=1", "--save_steps=1", "--max_steps=1"]
    arguments, flags = parse_search(
        words_of_search(["films.csv", *TINY_RUN, "--model_name_or_path", tiny_encoder, *steps])
    )
    assert 0 <= train(arguments, flags, optuna.create_study().ask(), pairs / "trial") <= 1

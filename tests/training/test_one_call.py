import inspect
import json
import logging
import sys
from pathlib import Path

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from transformers import TrainerCallback

import extrabert_hf
from extrabert_hf import InputError, finetune, parse_multitask_run, parse_run, run_finetuning
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import hold_run
from extrabert_hf.training import one_call
from extrabert_hf.training.finetune import save_rows
from extrabert_hf.training.one_call import FinetunedRun

ROWS = [{"text": f"{word} film {n}", "label": word} for n in range(12) for word in ("bad", "fair", "good")]
pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
TINY = {"max_steps": 2, "max_length": 20, "bf16": False, "disable_tqdm": True}


@pytest.fixture
def parsed(monkeypatch):
    """Returns the `Run` that a call would train."""
    runs = []
    monkeypatch.setattr(one_call, "run_finetuning", lambda run, callbacks: runs.append(run))

    def parse(*args, **arguments):
        finetune(*args, **arguments)
        return runs[-1]

    return parse


def test_rows_in_memory_become_a_model_with_scores_and_predictions(tiny_encoder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    monkeypatch.setattr(logging.getLogger("extrabert_hf"), "propagate", False)
    seen = []

    class Count(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append(state.global_step)

    arguments = {"model_name_or_path": Path(tiny_encoder), "callbacks": [Count()], **TINY}
    with pytest.raises(InputError, match="no column for `sentence2`"):
        finetune(ROWS, "paraphrase", tmp_path / "run", **arguments)
    run = finetune(ROWS, "sentiment", tmp_path / "run", **arguments)
    assert isinstance(run, FinetunedRun) and seen == [1, 2]
    assert run.scores["dev"].keys() == {"accuracy", "macro_f1", "within_1_accuracy", "quadratic_kappa"}
    assert run.predictor.task.class_names == ("bad", "fair", "good")
    assert run.predictor.predict(["a good film"]).names[0] in run.predictor.task.class_names
    written = RunFolder(run.output_dir).rows_file("train").read_text().splitlines()
    assert [json.loads(line) for line in written] == ROWS


def test_the_rows_of_an_earlier_run_in_the_folder_are_replaced(parsed, tmp_path):
    earlier = parsed({"train": ROWS, "dev": ROWS[:6]}, "sentiment", tmp_path, bf16=False)
    later = parsed(pd.DataFrame(ROWS), "sentiment", tmp_path, bf16=False)
    with hold_run("output_dir", tmp_path):
        save_rows(earlier)
        assert {path.name for path in RunFolder(tmp_path).rows.iterdir()} == {"train.jsonl", "dev.jsonl"}
        save_rows(later)
    assert [path.name for path in RunFolder(tmp_path).rows.iterdir()] == ["train.jsonl"]


def test_a_call_is_the_run_of_the_command_line(parsed):
    words = ["--data", "sample", "--learning_rate", "1e-4", "--class_names", "a", "b", "c", "d", "e", "--lora", "true"]
    words += ["--lr_scheduler_kwargs", '{"a": 1}', "--output_dir", "runs/x", "--config", "minilm/sst"]
    flags = {"learning_rate": 1e-4, "class_names": ("a", "b", "c", "d", "e"), "lora": True, "seed": None}
    flags |= {"lr_scheduler_kwargs": {"a": 1}, "config": "minilm/sst"}
    assert parsed("sample", "sentiment", "runs/x", **flags) == parse_run("sst", words)
    assert parsed("sample", "multitask", config="minilm/multitask", aggregator="sum") == parse_multitask_run(
        ["--data", "sample", "--config", "minilm/multitask", "--aggregator", "sum"]
    )


def test_the_classes_are_those_of_the_rows_unless_they_are_given(parsed, tmp_path):
    labelled = Dataset.from_list(ROWS).cast_column("label", ClassLabel(names=["good", "bad", "fair"]))
    (tmp_path / "run.yaml").write_text("task:\n  class_names: [x, y, z]\n")

    def names(*args, **arguments):
        (spec,) = parsed(*args, **arguments).specs.values()
        return spec.class_names

    assert names(ROWS, "sentiment") == names(tmp_path / "a.csv", "sentiment") == ("auto",)
    assert names(labelled, "sentiment") == names(DatasetDict(train=labelled), "sentiment") == ("good", "bad", "fair")
    for data in (ROWS, labelled):
        assert names(data, "sentiment", config=tmp_path / "run.yaml") == ("x", "y", "z")
        assert names(data, "sentiment", class_names=["1", "2"]) == ("1", "2")
    assert len(names(ROWS, "sst")) == len(names("sample", "sentiment")) == 5
    assert names(ROWS, "paraphrase") == ("not paraphrase", "paraphrase")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "`head` must be one of 'sentiment', .* got none"),
        ({"head": "sentimental"}, "Did you mean `sentiment`"),
        ({"head": "sst", "num_epochs": 3}, "`num_epochs` is not an argument .* Did you mean `num_train_epochs`"),
        ({"head": "sst", "aggregator": "pcgrad"}, "`aggregator` is not an argument of `finetune` for `head` 'sst'"),
        ({"head": "sst", "learning_rate": -1.0}, "`learning_rate` must be 0 or more, got -1.0"),
        ({"head": "sst", "learning_rate": "fast"}, "invalid float value: 'fast'"),
        ({"head": "sst", "model_name_or_path": object()}, "`model_name_or_path` must be a text, .* got the object"),
        ({"head": "sst", "callbacks": [print]}, "`callbacks` must be a list of TrainerCallbacks"),
        ({"head": "sst", "hub_token": "hf_" + "a" * 30}, "`hub_token` can't be a flag"),
        ({"head": "sst", "output_dir": 5}, "`output_dir` must be a folder"),
        ({"head": "sst", "config": "minilm/sts5"}, "Did you mean `minilm/sts`"),
        ({"head": "multitask", "data": ROWS}, "got rows in memory"),
        ({"head": "sst", "data": Path("missing")}, "no such file or folder"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        finetune(**{"data": "sample", **arguments})
    assert not list(tmp_path.rglob("*.json*"))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: finetune(parse_run("sts", [])), "use `run_finetuning"),
        (lambda: run_finetuning("sts"), "`run` must be a Run, .* got a str"),
        (lambda: parse_run("stars", []), "`task_name` must be one of 'sst', 'para', 'sts', got 'stars'"),
        (lambda: parse_run(["sts"], []), "`task_name` must be one of"),
        (lambda: parse_run("sts", "--data sample"), "`argv` must be a list of words"),
        (lambda: parse_multitask_run("--data sample"), "`argv` must be a list of words"),
    ],
)
def test_the_functions_for_runs_name_what_they_take(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_every_public_function_and_class_has_a_docstring_with_its_arguments():
    for name in extrabert_hf.__all__:
        value = getattr(extrabert_hf, name)
        if inspect.isfunction(value):
            assert "Args:" in value.__doc__ and "`" in value.__doc__, name
            assert all(argument in value.__doc__ for argument in inspect.signature(value).parameters), name

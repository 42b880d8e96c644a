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
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training import one_call
from extrabert_hf.training.finetune import save_rows
from extrabert_hf.training.one_call import FinetunedRun
from extrabert_hf.training.own_data import parse_own_run

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
    with pytest.raises(InputError, match="must have two columns of texts"):
        finetune(ROWS, "paraphrase", tmp_path / "run", **arguments)
    run = finetune(ROWS, output_dir=tmp_path / "run", **arguments)
    assert isinstance(run, FinetunedRun) and seen == [1, 2] and list(run.metrics.tasks) == ["own"]
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
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv", index=False)

    def names(*args, **arguments):
        (spec,) = parsed(*args, **arguments).specs.values()
        return spec.class_names

    assert names(ROWS, "sentiment") == names(tmp_path / "a.csv", "sentiment") == ("auto",)
    assert names(labelled) == names(DatasetDict(train=labelled), "sentiment") == ("good", "bad", "fair")
    for data in (ROWS, labelled):
        assert names(data, "sentiment", config=tmp_path / "run.yaml") == ("x", "y", "z")
        assert names(data, "sentiment", class_names=["1", "2"]) == ("1", "2")
    assert len(names(ROWS, "sst")) == len(names("sample", "sentiment")) == 5
    assert names(ROWS, "para") == ("not paraphrase", "paraphrase")


REVIEWS = [{"review": row["text"], "stars": row["label"], "day": "2020-01-02"} for row in ROWS]
PAIRS = [{"text_a": f"a small dog number {n}", "text_b": f"the small dog number {n}"} for n in range(40)]
OWN = {
    "sentiment": (REVIEWS, "sst"),
    "paraphrase": ([{**pair, "kind": ("same", "other")[n % 2]} for n, pair in enumerate(PAIRS)], "para"),
    "similarity": ([{**pair, "near": n / 40} for n, pair in enumerate(PAIRS)], "sts"),
}


@pytest.mark.parametrize("head", OWN)
def test_rows_in_memory_are_inspected_as_a_file_is(head, parsed, tmp_path):
    rows, task = OWN[head]
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    of_file = parsed(tmp_path / "own.csv", bf16=False)
    assert of_file == parse_own_run(str(tmp_path / "own.csv"), ["--bf16", "false"])
    for data in (rows, pd.DataFrame(rows), Dataset.from_list(rows), {"train": rows, "validation": rows[:5]}):
        for named in (None, head):
            run = parsed(data, named, bf16=False)
            assert run.specs == of_file.specs and run.specs["own"].head == head
            assert run.rules.values(36, 1) == of_file.rules.values(36, 1)
            assert run.training.metric_for_best_model == PAPER_TASKS[task].metric


def test_a_dry_run_of_rows_in_memory_logs_the_plan_and_writes_nothing(tmp_path, monkeypatch, caplog, tiny_encoder):
    monkeypatch.chdir(tmp_path)
    plans = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO, "extrabert_hf"):
            run = finetune(REVIEWS, dry_run=True, bf16=False, model_name_or_path=tiny_encoder)
        plans.append(list(caplog.messages))
        assert run.metrics is None and run.scores == {}
    assert plans[0] == plans[1] and not list(tmp_path.iterdir())
    assert plans[0][0].startswith("the train split: 36 rows; text = 'review', label = 'stars' (3 classes: 'bad' 12, ")
    assert plans[0][2].startswith("tiny_encoder, epochs: 20, ") and "-> runs/own (defaults of " in plans[0][2]
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        finetune(ROWS, "sst", class_names=["bad", "fair", "good"], dry_run=True, model_name_or_path=tiny_encoder)
    assert caplog.messages[3].startswith("the train split: 36 rows; text = 'text', label = 'label' (3 classes")


def test_an_error_names_arguments_instead_of_flags_and_files(tmp_path):
    two = [{**row, "mood": row["label"]} for row in ROWS]
    for row in two:
        row["state"] = row.pop("label")
    with pytest.raises(InputError, match="Write `label_column='mood'` or `label_column='state'`"):
        finetune(two)
    with pytest.raises(InputError, match=r"of the train split are whole numbers .* `head='paraphrase'` for classes"):
        finetune([{**pair, "value": n % 5} for n, pair in enumerate(PAIRS)])
    with pytest.raises(InputError, match="the train split") as caught:
        finetune(ROWS, "para", tmp_path / "run", max_steps=1, bf16=False)
    assert ".jsonl" not in str(caught.value) and "--" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "`head` must be one of 'sentiment', .* got none: it is found in own data alone, not in 'sample'"),
        ({"data": None}, "`head` must be one of 'sentiment', .* got none"),
        ({"data": ROWS, "learning_rat": 1}, "`learning_rat` is not an argument of `finetune`. Did you mean"),
        ({"head": "sentimental"}, "Did you mean `sentiment`"),
        ({"head": "sst", "num_epochs": 3}, "`num_epochs` is not an argument .* Did you mean `num_train_epochs`"),
        ({"head": "sst", "aggregator": "pcgrad"}, "`aggregator` is not an argument of `finetune` for `head` 'sst'"),
        ({"head": "sst", "learning_rate": -1.0}, "`learning_rate` must be 0 or more, got -1.0"),
        ({"head": "sst", "learning_rate": "fast"}, "`learning_rate` must be a number, got 'fast'"),
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

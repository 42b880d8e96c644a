import logging
import re

import pytest
from transformers import AutoConfig

from extrabert_hf.cli.train import parse_train
from extrabert_hf.errors import InputError
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.training.finetune import read_tasks, run_finetuning
from extrabert_hf.training.one_call import finetune
from extrabert_hf.training.own_data import name_of_task, parse_own_run
from tests.conftest import SAMPLES, TINY_RUN
from tests.table_files import write_rows


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    """A file of reviews in the current folder."""
    monkeypatch.chdir(tmp_path)
    rows = [{"review": f"a film with the number {n}", "stars": 1 + n % 3, "date": "2020-01-02"} for n in range(30)]
    write_rows(tmp_path / "reviews.csv", rows)
    return tmp_path


def dry(*words):
    return run_finetuning(parse_train([*words, "--config", "minilm/sst", "--dry_run"]))


def test_a_dry_run_prints_three_lines_and_writes_nothing(reviews, caplog):
    caplog.set_level(logging.INFO, "extrabert_hf")
    assert dry("reviews.csv") is None
    assert caplog.messages == [
        "reviews.csv: 30 rows; text = 'review', label = 'stars' (3 classes: '1' 10, '2' 10, '3' 10), not used: 'date'",
        "task 'reviews': sentences with classes, head 'sentiment'; dev rows: 3 of the 30 (--dev_fraction 0.1)",
        "minilm, epochs: 4, batches of 32, learning rate 7e-05 -> runs/reviews",
    ]
    assert [path.name for path in reviews.iterdir()] == ["reviews.csv"]


@pytest.mark.parametrize(("task", "lines"), [("sts", 3), ("multitask", 7)])
def test_a_dry_run_of_the_papers_tasks_has_the_same_lines(reviews, caplog, task, lines):
    caplog.set_level(logging.INFO, "extrabert_hf")
    dry(task, "--data", "sample")
    plan = [line for line in caplog.messages if not line.endswith("has no labels")]
    assert len(plan) == lines and plan[-1].endswith(f"-> runs/{task}")
    assert [path.name for path in reviews.iterdir()] == ["reviews.csv"]


@pytest.fixture
def trees(tmp_path, monkeypatch):
    """Files of own trees and of further rows, in the current folder."""
    monkeypatch.chdir(tmp_path)
    texts = [f"({n % 3} (2 a{n}) ({n % 3} (1 nice{n}) (1 film)))" for n in range(20)]
    (tmp_path / "trees.txt").write_text("\n".join(texts))
    write_rows(tmp_path / "more.csv", [{"text": f"more {n}", "label": n % 3} for n in range(6)])
    return tmp_path


def test_a_dry_run_counts_further_rows_beside_the_rows_of_the_file(trees, caplog):
    caplog.set_level(logging.INFO, "extrabert_hf")
    dry("trees.txt", "--phrases", "2", "--extra_train", "more.csv")
    assert caplog.messages == [
        "trees.txt: 20 rows; text = 'sentence', label = 'label' (3 classes: '0' 7, '1' 7, '2' 6)",
        "task 'trees': sentences with classes, head 'sentiment'; dev rows: 2 of the 20 (--dev_fraction 0.1)",
        "phrases of trees.txt: 18 rows, 18 added to train",
        "more.csv: columns sentence1 = 'text', label = 'label'",
        "more.csv: 6 rows, 6 added to train",
        "minilm, epochs: 4, batches of 32, learning rate 7e-05 -> runs/trees",
    ]
    assert sorted(path.name for path in trees.iterdir()) == ["more.csv", "trees.txt"]


def test_a_task_of_a_multitask_run_has_its_own_further_rows(trees, caplog):
    caplog.set_level(logging.INFO, "extrabert_hf")
    block = "by_task: {sst: {data: {extra_train: [trees.txt], phrases: 2, neutral_phrases: 0.5}}}"
    (trees / "run.yaml").write_text(f"multitask: {{tasks: [sst, sts]}}\ndata: {{data: sample}}\n{block}\n")
    words = ["multitask", "--config", "run.yaml", "--model_name_or_path", "minilm", "--dry_run"]
    run_finetuning(parse_train([*words, "--bf16", "false"]))
    counts = [line for line in caplog.messages if "added to train" in line]
    assert counts == [
        "trees.txt: 20 rows, 20 added to train",
        "phrases of trees.txt: 20 rows, 17 added to train; left out: 3 neutral and not drawn",
    ]


def test_the_call_of_python_takes_further_rows(trees, caplog):
    caplog.set_level(logging.INFO, "extrabert_hf")
    rows = [{"text": f"film {n}", "label": n % 3} for n in range(20)]
    for files in ("more.csv", [trees / "more.csv"]):
        finetune(rows, extra_train=files, config="minilm/sst", dry_run=True)
        assert "more.csv: 6 rows, 6 added to train" in caplog.messages
        caplog.clear()


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
def test_a_run_remembers_its_further_rows_and_resumes_with_these_alone(trees, tiny_encoder):
    flags = [*TINY_RUN, "--model_name_or_path", tiny_encoder, "--phrases", "2", "--extra_train", "more.csv"]
    flags += ["--max_steps", "2", "--save_strategy", "steps", "--save_steps", "2", "--eval_strategy", "steps"]
    flags += ["--eval_steps", "2"]
    entry = run_finetuning(parse_own_run("trees.txt", flags)).tasks["trees"]
    assert entry.rows == {"train": 42, "dev": 2}
    assert entry.dataset.name.endswith(" + train rows of more.csv + phrases of trees (2 words or more)")
    folder = RunFolder(trees / "runs" / "trees")
    (task,) = folder.read_metrics().tasks.values()
    assert {name: task.data.others[name] for name in ("extra_train", "phrases", "neutral_phrases")} == {
        **{"extra_train": ["more.csv"], "phrases": 2, "neutral_phrases": 1.0},
    }
    again = [*flags, "--resume_from_checkpoint", str(folder.path / "checkpoint-2")]
    with pytest.raises(InputError, match="`phrases` is 2 there, got 1"):
        run_finetuning(parse_own_run("trees.txt", [*again, "--phrases", "1"]))
    write_rows(trees / "more.csv", [{"text": f"more {n}", "label": (n + 1) % 3} for n in range(6)])
    with pytest.raises(InputError, match="the split 'train' has 42 rows"):
        run_finetuning(parse_own_run("trees.txt", again))


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
def test_runs_with_several_seeds_have_the_same_dev_rows(reviews):
    def dev_rows(*flags):
        (loaded,) = read_tasks(parse_train(["reviews.csv", "--config", "minilm/sst", *flags])).values()
        return loaded.splits["dev"]["id"][:]

    assert dev_rows("--seed", "1") == dev_rows("--seed", "2") == dev_rows()
    assert dev_rows("--dev_seed", "1") != dev_rows()


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")  # on three dev rows
def test_a_run_of_a_file_trains_what_its_plan_says(reviews, caplog, tiny_encoder):
    caplog.set_level(logging.INFO, "extrabert_hf")
    flags = [*TINY_RUN, "--model_name_or_path", tiny_encoder, "--task_name", "stars"]
    flags += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    run_finetuning(parse_own_run("reviews.csv", [*flags, "--dry_run"]))
    plan = list(caplog.messages)
    assert plan[2].endswith("runs/stars (defaults of configs/default.yaml for 27 rows, 0 M parameters)")
    metrics = run_finetuning(parse_own_run("reviews.csv", flags))
    assert len(plan) == 3 and caplog.messages[3:6] == plan
    assert not [line for line in caplog.messages if line.startswith(("columns of", "classes of", "defaults for"))]
    values = {name: metrics.arguments[name] for name in ("num_train_epochs", "learning_rate")}
    assert values == {"num_train_epochs": 20, "learning_rate": 7e-5}
    assert plan[2].startswith("tiny_encoder, epochs: 20, batches of 16, learning rate 7e-05 -> ")
    assert caplog.messages[-1].endswith("with report.html, README.md, metrics.json, predictions")
    task = metrics.tasks["stars"].task
    assert (task.head, task.class_names) == ("sentiment", ("1", "2", "3"))
    assert RunFolder(reviews / "runs" / "stars").is_finished


def test_a_similarity_run_is_selected_by_its_own_metric(tmp_path):
    rows = [{"text_a": f"a film {n}", "text_b": f"the film {n}", "sim": n / 20} for n in range(20)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    run = parse_own_run(str(tmp_path / "pairs.jsonl"), ["--bf16", "false"])
    assert run.training.metric_for_best_model == "pearson" and run.specs["pairs"].label_range == (0, 1)
    run = parse_own_run(str(tmp_path / "pairs.jsonl"), ["--bf16", "false", "--label_max", "2", "--label_min", "-1"])
    assert run.specs["pairs"].label_range == (-1, 2)


@pytest.mark.parametrize("flags", [[], ["--label_max", "7"]], ids=["found", "given"])
def test_whole_numbers_from_1_to_5_can_be_trained(tmp_path, monkeypatch, tiny_encoder, flags):
    monkeypatch.chdir(tmp_path)
    rows = [{"left": f"a film {n}", "right": f"the film {n}", "rating": 1 + n % 5} for n in range(30)]
    write_rows(tmp_path / "rated.jsonl", rows)
    flags = [*flags, *TINY_RUN, "--model_name_or_path", tiny_encoder, "--max_steps", "1"]
    run_finetuning(parse_own_run("rated.jsonl", flags))
    high = 7 if "--label_max" in flags else 5
    assert AutoConfig.from_pretrained("runs/rated").score_range == [1, high]


WRONG = {
    ("sample",): "give the task (sst or para or sts), such as `extrabert train sst --data sample`",
    (str(SAMPLES),): "give the task (sst or para or sts), such as `extrabert train sst --data ",
    ("nowhere.csv",): "got 'nowhere.csv': no such file or folder",
    ("reviews.csv", "--data", "other.csv"): "leave out `--data other.csv`",
    ("reviews.csv", "--head", "paraphrase"): "must have two columns of texts for this head, got 'review'",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_wrong_word_ends_in_a_line_with_what_to_type(reviews, words):
    with pytest.raises(InputError, match=re.escape(WRONG[words])):
        parse_train(words)


def test_a_word_of_a_task_comes_before_a_file_of_this_name(reviews):
    (reviews / "sst").mkdir()
    (reviews / "reviews.csv").rename(reviews / "sst" / "train.csv")
    assert list(parse_train(["sst", "--data", "sample", "--bf16", "false"]).specs) == ["sst"]
    run = parse_train(["./sst", "--bf16", "false"])
    assert list(run.specs) == ["sst_data"] and run.training.output_dir == "runs/sst_data"


def test_a_file_of_dev_rows_with_other_columns_is_named(reviews):
    write_rows(reviews / "dev.csv", [{"satz": "a film", "urteil": 1}, {"satz": "a film", "urteil": 2}])
    with pytest.raises(
        InputError, match=r"dev.csv must have the columns of reviews.csv, 'review', 'stars', got 'satz'"
    ):
        parse_own_run("reviews.csv", ["--dev_data", "dev.csv"])


@pytest.mark.parametrize(
    "name", ["ä ö.csv", "x" * 90 + ".csv", "評価.csv", "....csv", "multitask.tsv", "a/train.csv", "a/b"]
)
def test_the_name_of_a_file_becomes_a_name_of_a_task(name):
    from extrabert_hf.tasks import check_task_name

    check_task_name(name_of_task(name))
    assert name_of_task(name) not in ("sst", "para", "sts", "multitask", "train")

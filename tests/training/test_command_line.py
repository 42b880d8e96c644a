from pathlib import Path

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.training.command_line import parse_run

CONFIGS = Path(__file__).parents[2] / "recipes" / "configs"


def run_of(tmp_path, yaml="", argv=(), task="sts"):
    path = tmp_path / "run.yaml"
    path.write_text(yaml)
    return parse_run(task, ["--config", str(path), "--output_dir", str(tmp_path / "out"), "--bf16", "false", *argv])


def test_yaml_values_have_the_type_of_their_field(tmp_path):
    yaml = """
task: {class_names: [bad, good]}
data: {max_length: 64, strict_data: true, dev_fraction: 2e-1}
model: {pooling: mean, pair_features: [u, cosine], multiplicative_weight: false, attn_implementation: null}
trainer: {learning_rate: 2e-5, num_train_epochs: 2, lr_scheduler_kwargs: {num_cycles: 2}}
"""
    run = run_of(tmp_path, yaml, task="para")
    assert run.training.learning_rate == 2e-5
    assert run.training.num_train_epochs == 2.0
    assert run.training.lr_scheduler_kwargs == {"num_cycles": 2}
    assert (run.data.max_length, run.data.strict_data, run.data.dev_fraction) == (64, True, 0.2)
    assert run.model.pair_features == ["u", "cosine"]
    assert (run.model.multiplicative_weight, run.model.attn_implementation) == (False, None)
    assert run.task.class_names == ("bad", "good")


def test_the_command_line_wins_over_the_yaml(tmp_path):
    run = run_of(tmp_path, "trainer: {learning_rate: 2e-5, seed: 7}", ["--learning_rate", "3e-5"])
    assert (run.training.learning_rate, run.training.seed) == (3e-5, 7)


def test_a_task_of_ones_own_is_a_yaml_entry(tmp_path):
    run = run_of(
        tmp_path,
        "task: {task_name: stars, sentence1_column: review, label_column: stars, num_labels: 3}",
        task="sst",
    )
    assert (run.task.name, run.task.head, run.task.sentence1_column) == ("stars", "sentiment", "review")
    assert run.task.class_names == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_null_in_the_yaml_is_none_unless_a_flag_says_otherwise(tmp_path):
    yaml = "trainer: {head_learning_rate: null, save_total_limit: null}"
    training = run_of(tmp_path, yaml, ["--save_total_limit", "5"]).training
    assert (training.head_learning_rate, training.save_total_limit) == (None, 5)


def test_a_task_of_ones_own_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_run("sst", ["--bf16", "false"]).training.output_dir == "runs/sst"
    assert parse_run("sst", ["--bf16", "false", "--task_name", "stars"]).training.output_dir == "runs/stars"


def test_the_better_of_two_errors_is_the_smaller(tmp_path):
    assert run_of(tmp_path, "", ["--metric_for_best_model", "mse"]).training.greater_is_better is False
    assert run_of(tmp_path).training.greater_is_better is True


def test_a_score_range_of_ones_own_reaches_the_task(tmp_path):
    assert run_of(tmp_path, "task: {label_min: -1, label_max: 1}").task.label_range == (-1.0, 1.0)


def test_the_metric_of_the_task_picks_the_best_checkpoint(tmp_path):
    assert run_of(tmp_path).training.metric_for_best_model == "pearson"
    assert run_of(tmp_path, task="sst").training.metric_for_best_model == "accuracy"


@pytest.mark.parametrize(
    ("yaml", "argv", "message"),
    [
        (
            "trainer: {learning_rat: 1e-5}",
            (),
            "`learning_rat` is not a field of `trainer`.*Did you mean `learning_rate`",
        ),
        ("trainer: {pooling: mean}", (), "`pooling` is not a field of `trainer`"),
        ("modle: {pooling: mean}", (), "`modle` is not a block .* Did you mean `model`"),
        ("trainer: {learning_rate: fast}", (), "learning_rate.*invalid float value: 'fast'"),
        ("model: {pooling: max}", (), "pooling.*invalid choice: 'max'"),
        ("- a\n- b", (), "`config` must hold the blocks task, data, model, trainer"),
        ("a: b: c", (), "`config` must be YAML"),
        ("", ("--learning-rat", "1"), "unrecognized arguments: --learning-rat"),
        ("", ("--learn", "1"), "unrecognized arguments: --learn"),
        ("", ("--max_length", "1"), "`max_length` must be 3 or more, got 1"),
        ("", ("--dev_fraction", "1.5"), "`dev_fraction` must be between 0 and 1, got 1.5"),
        ("", ("--label_min", "9"), "`label_min` must be below `label_max`, got 9.0 and 5.0"),
        ("", ("--fp16", "true", "--bf16", "true"), "fp16"),
        (
            "",
            ("--early_stopping_patience", "2", "--load_best_model_at_end", "false"),
            "`early_stopping_patience` needs",
        ),
        ("", ("--eval_strategy", "sometimes"), "sometimes"),
        (
            "",
            ("--metric_for_best_model", "pearsn"),
            "`metric_for_best_model` must be one of 'pearson', .* got 'pearsn'",
        ),
        ("", ("--class_names", "a", "b"), "`class_names` and `num_labels` are for tasks with classes"),
        ("", ("--per_device_train_batch_size", "0"), "`per_device_train_batch_size` must be 1 or more, got 0"),
        ("task: {class_names: [no, yes]}", (), r"put yes, no, on and off in quotes, got \[False, True\]"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(tmp_path, yaml, argv, message):
    with pytest.raises(InputError, match=message) as caught:
        run_of(tmp_path, yaml, argv)
    assert "\n" not in str(caught.value)


def test_counts_that_disagree_are_refused(tmp_path):
    with pytest.raises(InputError, match="`num_labels` must be the number of `class_names`, 2, got 3"):
        run_of(tmp_path, "task: {num_labels: 3, class_names: [a, b]}", task="sst")


def test_a_config_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"nowhere.yaml: No such file"):
        parse_run("sts", ["--config", "nowhere.yaml"])


def test_help_explains_every_argument_of_ours(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_run("sts", ["--help"], description="What it does.")
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for flag in ("--data", "--pooling", "--head_learning_rate", "--strict_data", "--sentence1_column", "--config"):
        assert flag in text


@pytest.mark.parametrize(
    "path",
    sorted([*CONFIGS.glob("minilm/*.yaml"), *CONFIGS.glob("paper/*.yaml")]),
    ids=lambda p: f"{p.parent.name}/{p.name}",
)
def test_every_config_parses_with_its_recipe(path, tmp_path):
    task = path.stem.split("_")[0]
    run = parse_run(task, ["--config", str(path), "--output_dir", str(tmp_path)])
    assert run.training.seed == 42


def test_the_quickstart_parses_with_its_recipe():
    assert parse_run("sts", ["--config", str(CONFIGS / "quickstart.yaml")]).data.data == "sample"

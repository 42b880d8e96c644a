from pathlib import Path

import pytest
import yaml

from extrabert_hf.errors import InputError
from extrabert_hf.training.command_line import parse_multitask_run, parse_run, yaml_of_flags

CONFIGS = Path(__file__).parents[2] / "recipes" / "configs"


def run_of(tmp_path, yaml="", argv=(), task="sts"):
    path = tmp_path / "run.yaml"
    path.write_text(yaml)
    return parse_run(task, ["--config", str(path), "--output_dir", str(tmp_path / "out"), "--bf16", "false", *argv])


def only(run):
    (task_run,) = run.tasks.values()
    return task_run


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
    assert (only(run).data.max_length, only(run).data.strict_data, only(run).data.dev_fraction) == (64, True, 0.2)
    assert only(run).model.pair_features == ["u", "cosine"]
    assert (only(run).model.multiplicative_weight, only(run).model.attn_implementation) == (False, None)
    assert only(run).task.class_names == ("bad", "good")


def test_the_command_line_wins_over_the_yaml(tmp_path):
    run = run_of(tmp_path, "trainer: {learning_rate: 2e-5, seed: 7}", ["--learning_rate", "3e-5"])
    assert (run.training.learning_rate, run.training.seed) == (3e-5, 7)


def test_a_task_of_ones_own_is_a_yaml_entry(tmp_path):
    run = run_of(
        tmp_path,
        "task: {task_name: stars, sentence1_column: review, label_column: stars, num_labels: 3}",
        task="sst",
    )
    assert (only(run).task.name, only(run).task.head, only(run).task.sentence1_column) == (
        "stars",
        "sentiment",
        "review",
    )
    assert only(run).task.class_names == ("LABEL_0", "LABEL_1", "LABEL_2")


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
    assert only(run_of(tmp_path, "task: {label_min: -1, label_max: 1}")).task.label_range == (-1.0, 1.0)


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
        ("trainer: {learning_rate: fast}", (), "`learning_rate` must be a number, got 'fast'"),
        ("model: {pooling: max}", (), "`pooling` must be one of 'pooler', .*, got 'max'"),
        ("- a\n- b", (), "`config` must hold the blocks task, data, model, lora, trainer"),
        ("a: b: c", (), "`config` must be YAML"),
        ("", ("--learning-rat", "1"), "`--learning-rat` is not a flag of .* Did you mean `--learning_rate`"),
        ("", ("--learn", "1"), "`--learn` is not a flag of .* Did you mean `--learning_rate`"),
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
        ("", ("--r_drop", "-1"), "`r_drop` must be 0 or more, got -1.0"),
        ("", ("--distillation", "2"), r"`distillation` must be in \[0, 1\], got 2.0"),
        ("", ("--r_drop", "1", "--label_smoothing_factor", "0.1"), "`label_smoothing_factor` can't be used with"),
        ("task: {class_names: [no, yes]}", (), r"put yes, no, on and off in quotes\), got \[False, True\]"),
    ],
)
def test_what_cannot_be_used_is_an_error_of_one_line(tmp_path, yaml, argv, message):
    with pytest.raises(InputError, match=message) as caught:
        run_of(tmp_path, yaml, argv)
    assert "\n" not in str(caught.value)


def test_single_sentences_have_no_cross_encoder(tmp_path):
    with pytest.raises(
        InputError, match="`pair_encoding` 'cross_encoder' is for pairs, but 'sst' has single sentences"
    ):
        run_of(tmp_path, argv=("--pair_encoding", "cross_encoder"), task="sst")


def test_counts_that_disagree_are_refused(tmp_path):
    with pytest.raises(InputError, match="`num_labels` must be the number of `class_names`, 2, got 3"):
        run_of(tmp_path, "task: {num_labels: 3, class_names: [a, b]}", task="sst")


def test_a_config_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"`config` must be a YAML file or a name that .* lists, got 'nowhere.yaml'"):
        parse_run("sts", ["--config", "nowhere.yaml"])


def test_help_explains_every_argument_of_ours(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_run("sts", ["--help"], description="What it does.")
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for flag in ("--data", "--pooling", "--head_learning_rate", "--strict_data", "--sentence1_column", "--config"):
        assert flag in text


def test_a_task_has_a_block_of_its_own(tmp_path):
    yaml = """
trainer: {learning_rate: 2e-5}
by_task:
  sts: {trainer: {learning_rate: 3e-5}}
  sst: {trainer: {learning_rate: 4e-5}}
"""
    assert run_of(tmp_path, yaml, task="sts").training.learning_rate == 3e-5
    assert run_of(tmp_path, yaml, task="sst").training.learning_rate == 4e-5
    assert run_of(tmp_path, yaml, task="para").training.learning_rate == 2e-5
    assert run_of(tmp_path, yaml, ["--learning_rate", "5e-5"], task="sts").training.learning_rate == 5e-5


def multitask_run_of(tmp_path, yaml="", argv=()):
    path = tmp_path / "run.yaml"
    path.write_text(yaml)
    return parse_multitask_run(
        ["--config", str(path), "--output_dir", str(tmp_path / "out"), "--bf16", "false", *argv]
    )


def test_a_multitask_run_has_the_papers_tasks_and_what_each_has_for_itself(tmp_path):
    yaml = """
data: {data: sample}
model: {pooling: mean}
by_task:
  para: {model: {pair_features: [u, v]}, task: {sentence1_column: question}}
"""
    run = multitask_run_of(tmp_path, yaml)
    assert list(run.tasks) == ["sst", "para", "sts"]
    assert {task_run.model.pooling for task_run in run.tasks.values()} == {"mean"}
    assert run.tasks["para"].model.pair_features == ["u", "v"] != run.tasks["sts"].model.pair_features
    assert [task.sentence1_column for task in run.specs.values()] == [None, "question", None]
    assert run.training.metric_for_best_model == "mean"


def test_a_multitask_run_takes_tasks_of_ones_own(tmp_path):
    yaml = """
multitask: {tasks: [sts, stars]}
by_task:
  stars: {task: {head: sentiment, class_names: [bad, good]}, data: {data: stars.csv}}
"""
    run = multitask_run_of(tmp_path, yaml, ["--data", "sample"])
    assert (run.specs["stars"].head, run.specs["stars"].class_names) == ("sentiment", ("bad", "good"))
    assert run.specs["stars"].course_stem is run.specs["stars"].hub_dataset is None


@pytest.mark.parametrize(
    ("yaml", "argv", "message"),
    [
        ("", ("--tasks", "sst", "stars"), "`tasks` must be of 'sst', 'para', 'sts', or have a `head`.*'stars'"),
        ("", ("--tasks", "sst", "sst"), "`tasks` must be different names"),
        ("", ("--train_tasks", "mnli"), r"`train_tasks` must be some of .* got \['mnli'\]"),
        ("", ("--mixing", "weights"), "`mixing_weights` go with `mixing` 'weights'"),
        ("", ("--mixing", "shuffled"), "`mixing` must be one of 'together', 'proportional', .* got 'shuffled'"),
        (
            "",
            ("--mixing", "annealed", "--epoch_length", "longest"),
            "`epoch_length` must be 'total' or a number .* got",
        ),
        ("", ("--epoch_length", "0"), "`epoch_length` must be 'longest', 'shortest' or a number of steps, 1 or more"),
        ("", ("--mixing_temperature", "0"), "`mixing_temperature` must be above 0, got 0.0"),
        ("", ("--mixing_temperature", "3"), "`mixing_temperature` goes with `mixing` 'temperature', got 'together'"),
        ("", ("--aggregator", "magic"), "`aggregator` must be one of 'mean', 'sum', 'pcgrad', .* got 'magic'"),
        ("", ("--examples_per_item", "1", "2"), "`examples_per_item` must be a number for each of"),
        ("", ("--metric_for_best_model", "pearson"), "`metric_for_best_model` must be one of 'mean', .*'sts_pearson'"),
        ("by_task: {sst: {model: {model_name_or_path: other}}}", (), "must be the same for all tasks"),
        ("by_task: {sst: {data: {max_length: 9}}}", (), "`max_length` must be the same for all tasks"),
        ("", ("--extra_train", "a.csv"), "`extra_train` must be set for each task alone, in the YAML under by_task: "),
        ("data: {extra_train: [a.csv]}", (), r"by_task: sst: data:, got \['a.csv'\] for 'sst' and 'para' and 'sts'"),
        ("by_task: {sst: {trainer: {seed: 9}}}", (), "`trainer` .*by_task.* is for separate runs"),
        ("by_task: {sst: {modle: {}}}", (), "`modle` is not a block"),
        ("by_task: {mnli: {model: {pooling: mean}}}", (), "`by_task` .*'mnli'"),
        ("by_task: {sst: [a]}", (), "`by_task` must hold"),
    ],
)
def test_what_cannot_be_used_in_a_multitask_run_is_an_error_of_one_line(tmp_path, yaml, argv, message):
    with pytest.raises(InputError, match=message) as caught:
        multitask_run_of(tmp_path, yaml, argv)
    assert "\n" not in str(caught.value)


PARSED = [
    path
    for pattern in ("m*.yaml", "minilm/*.yaml", "table1/*.yaml", "best/*.yaml", "future_work/*.yaml")
    for path in sorted(CONFIGS.glob(pattern))
]
MULTITASK_CONFIGS = ("multitask", "baseline", "rr", "rr_cs", "rr_cs_gs")


@pytest.mark.parametrize(
    "path",
    PARSED,
    ids=lambda p: f"{p.parent.name}/{p.name}",
)
def test_every_config_parses_with_its_recipes(path, tmp_path):
    argv = ["--config", str(path), "--output_dir", str(tmp_path), "--bf16", "false"]
    if path.stem in MULTITASK_CONFIGS:
        runs = [parse_multitask_run(argv)]
    else:
        tasks = ["sst", "para", "sts"] if path.parent.name == "table1" else [path.stem.split("_")[0]]
        runs = [parse_run(task, argv) for task in tasks]
    assert {run.training.seed for run in runs} == {42}


def test_the_quickstart_parses_with_its_recipe():
    assert only(parse_run("sts", ["--config", str(CONFIGS / "quickstart.yaml")])).data.data == "sample"


def test_a_yaml_of_the_flags_makes_the_same_run(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(
        "model: {pooling: cls, pair_features: [u, v]}\n"
        "trainer: {learning_rate: 3.0e-5, num_train_epochs: 7, head_learning_rate: null}\n"
        "multitask: {tasks: [sst, sts]}\n"
        "by_task: {sts: {model: {pooling: dot, head_dropout: 0.3}}}\n"
    )
    argv = ["--config", str(own), "--pooling", "mean", "--seed=7", "--length_buckets", "false", "--data", "sample"]
    written = tmp_path / "written.yaml"
    written.write_text(yaml.safe_dump(yaml_of_flags(argv, multitask=True)))
    first, second = parse_multitask_run(argv), parse_multitask_run(["--config", str(written)])
    assert first.tasks == second.tasks and first.multitask == second.multitask
    assert first.tasks["sts"].model.pooling == "mean" and first.tasks["sts"].model.head_dropout == 0.3
    assert first.training.to_dict() == second.training.to_dict()
    assert second.training.head_learning_rate is None

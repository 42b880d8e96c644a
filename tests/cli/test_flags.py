import importlib
import json
import re
import runpy
import shlex
import subprocess
import sys
from argparse import SUPPRESS
from pathlib import Path

import pytest

from extrabert_hf.cli.flag_index import COMMAND, describe_parser
from extrabert_hf.cli.flags import FORWARDS, build_parser, check_words, read_index
from extrabert_hf.cli.main import COMMANDS, main
from extrabert_hf.cli.train import make_parser as make_training_parser
from extrabert_hf.errors import InputError
from extrabert_hf.training.arguments import DataArguments, LoraArguments, ModelArguments, TaskArguments
from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.command_parser import COMMON
from extrabert_hf.training.contrastive import NOT_FOR_TEXT
from extrabert_hf.training.help_page import FURTHER, help_page
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

ROOT = Path(__file__).parents[2]
TRANSFORMERS = importlib.import_module("transformers").__version__
LISTED = re.compile(r"^  (?:-\w, )?--(\w+)", re.MULTILINE)


def page(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def error_of(*words):
    with pytest.raises(InputError) as caught:
        check_words(words[0], words[1:])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def same_transformers():
    if read_index()["transformers"] != TRANSFORMERS:
        pytest.skip("the index is of another version of transformers")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_index_has_the_arguments_of_the_parsers(command):
    if command == "search":
        pytest.importorskip("optuna", reason="needs the extra `search`")
    index = read_index()
    described = describe_parser(importlib.import_module(f"extrabert_hf.cli.{command}").make_parser())
    indexed = index["parsers"][command]
    if index["transformers"] != TRANSFORMERS:
        indexed["groups"].pop(FURTHER, None), described["groups"].pop(FURTHER, None)
    assert described == indexed, f"an argument has changed: run {COMMAND}"
    assert describe_parser(build_parser(indexed)) == indexed


def test_a_separate_run_has_the_flags_of_the_index_without_those_of_a_multitask_run(capsys):
    with pytest.raises(SystemExit):
        parse_run("sts", ["--help_all"])
    separate = LISTED.findall(capsys.readouterr().out)
    whole = LISTED.findall(help_page(make_training_parser(), everything=True))
    own = {argument["dest"] for argument in read_index()["parsers"]["train"]["groups"]["multitask"]}
    assert set(whole) - set(separate) == own and len(set(separate)) == len(separate)


def test_help_of_pretraining_has_no_argument_that_needs_labels_or_dev_rows(capsys, same_transformers):
    listed = LISTED.findall(page(capsys, "pretrain", "--help_all"))
    assert {"text", "temperature", "learning_rate", "unpad"} <= set(listed)
    assert not set(listed) & set(NOT_FOR_TEXT)
    assert set(NOT_FOR_TEXT) <= set(ExtraBertTrainingArguments.__dataclass_fields__)


def test_help_has_each_argument_of_ours_once_and_help_all_each_argument(capsys):
    listed, everything = (
        LISTED.findall(page(capsys, "train", "--help")),
        LISTED.findall(page(capsys, "train", "--help_all")),
    )
    assert len(set(listed)) == len(listed) and len(set(everything)) == len(everything)
    ours = {
        field for block in (TaskArguments, DataArguments, ModelArguments, LoraArguments) for field in vars(block())
    }
    ours |= {name for name in vars(ExtraBertTrainingArguments) if not name.startswith("_")} & {
        name for name, field in ExtraBertTrainingArguments.__dataclass_fields__.items() if field.init
    }
    ours -= {"hub_token"}  # others can read a flag
    inherited = {
        action.dest
        for group in make_training_parser()._action_groups
        for action in group._group_actions
        if group.title == FURTHER
    }
    assert {"data", "pooling", "lora", "r_drop", "head_learning_rate", "num_processes", "config", *COMMON} <= set(
        listed
    )
    assert ours - inherited <= set(listed) and not inherited & set(listed)
    real = {action.dest for action in make_training_parser()._actions} - {"hub_token", "push_to_hub_token", SUPPRESS}
    assert set(everything) == real | {"num_processes", "verbose"}


QUICK = (
    *("--help", "help", "help train", "train --help", "train sts -h", "train multitask --help", "predict --help"),
    *(
        "search --help",
        "table1 --help",
        "train",
        "train stss",
        "train sts --learnin_rate 1",
        "train sts --pooling maxx",
    ),
    *("predict runs/sts pairs.csv --ouput x.csv", "search --lr 1", "table1 --epochs 1", "configs --nam x", "evaluate"),
)


@pytest.mark.launch
def test_help_and_a_typo_import_nothing_large():
    code = (
        "import contextlib, io, json, sys\n"
        "from extrabert_hf.cli.main import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        main(line.split())\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(QUICK)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr.count("error: ") == len(QUICK) - 9, done.stderr
    imported = set(json.loads(done.stdout))
    assert not imported & {"torch", "transformers", "datasets", "numpy", "peft", "huggingface_hub", "accelerate"}


@pytest.mark.usefixtures("same_transformers")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train sts --lr 3e-5", "`--lr` is not a flag of `extrabert train`. Did you mean `--learning_rate`?"),
        ("train sts --epochs=3", "`--epochs` is not .* Did you mean `--num_train_epochs`?"),
        ("train sts --batch-size 3", "Did you mean `--per_device_train_batch_size`?"),
        ("train sts --model minilm", "Did you mean `--model_name_or_path`?"),
        ("train sts --output runs/a", "Did you mean `--output_dir`?"),
        ("train sts -data sample", "`-data` is not a flag .* Did you mean `--data`?"),
        ("train sts --Data sample", "Did you mean `--data`?"),
        ("train sts --adam_bta1 1", "Did you mean `--adam_beta1`?"),
        ("train multitask --agregator sum", "Did you mean `--aggregator`?"),
        ("train sts --aggregator sum", "`--aggregator` is for `extrabert train multitask`, not for 'sts'."),
        ("train sts --num-proc 2", "Did you mean `--num_processes`?"),
        (
            "train sts --qqq 1",
            "`--qqq` is not a flag of `extrabert train`. `extrabert train --help_all` lists all flags.",
        ),
        ("search --n_trails 3", "`--n_trails` is not a flag of `extrabert search`. Did you mean `--n_trials`?"),
        ("search --n_trials 3 --learning_rat 1", "Did you mean `--learning_rate`?"),
        ("table1 --learning_rate fast", "`learning_rate` must be a number, got 'fast'."),
        ("train sts --pooling meen", "`pooling` must be one of 'pooler', .*, got 'meen'. Did you mean `mean`?"),
        ("train sts --lora_r 1.5", "`lora_r` must be a whole number, got '1.5'."),
        ("train sts --unpad maybe", "`unpad` must be true or false, got 'maybe'."),
        ("train sts --data", "`--data` needs a value after it"),
        ("train sts sample", "`extrabert train` can't use the word 'sample'"),
        ("train sts docs", "can't use the word 'docs' here: type --data docs.$"),
        ("audit pyproject.toml", "can't use the word 'pyproject.toml' here: type --data pyproject.toml.$"),
        ("predict", "`extrabert predict` needs model, input and --output. For example: extrabert predict runs/sts "),
        (
            "train",
            "needs as its first word data .* For example: extrabert train reviews.csv, or: extrabert train sts ",
        ),
        (
            "train --dry_run",
            "needs as its first word data .a file, a folder or a Hub id as owner/name. or a task .sst,",
        ),
        ("train stss", "must be data .* or a task .*, got 'stss': no such file or folder. Did you mean `sts`?"),
        ("train sst2", "no such file or folder. Did you mean `sst`?"),
        ("train pyproject", "no such file or folder. Did you mean `pyproject.toml`?"),
        ("train nofile.csv", "must be data .a file, .*, got 'nofile.csv': no such file or folder.$"),
        ("train docs/your_dat.csv", "no such file or folder. Did you mean `docs/your_data.md`?"),
        ("train reviews.csv --lr 1e-3", "got 'reviews.csv': no such file"),
        ("search docs/your_dat.csv", "first word after `search` must be data .* Did you mean `docs/your_data.md`?"),
        ("search owner/name --lr 1e-3", "`--lr` is not a flag of `extrabert search`. Did you mean"),
        ("train owner/name --lr 1e-3", "`--lr` is not a flag of `extrabert train`. Did you mean `--learning_rate`?"),
        ("train sts --hub_token=a-secret", "`hub_token` can't be a flag .* HF_TOKEN"),
    ],
)
def test_a_wrong_word_is_named_with_what_to_type(words, message):
    assert re.search(message.replace("?", r"\?"), error_of(*words.split())), error_of(*words.split())


@pytest.mark.parametrize(
    "words",
    [
        "train sts --learning-rate 1e-5 --class_names a b --label_min -1.5 --no_unpad --bf16 false",
        "train multitask --mixing_weights 1 2 --lora --pooling=mean",
        "train sts --adam_beta1 0.8 --optim sgd --debug underflow_overflow",
        "search --task sts --n_trials 2 --learning-rate 1e-5 --output-dir runs/a",
        "table1 --rows rr --seeds 1 2 --learning_rate 1e-5",
        "predict runs/sts - --output=- --csv_safe --output-dir",
        "explain runs/sts -5 -- --not-a-flag",
    ],
)
def test_words_that_the_real_parser_takes_are_taken(words):
    if words.startswith("predict"):  # has no --output_dir
        assert error_of(*words.split()) == (
            "`--output-dir` is not a flag of `extrabert predict`. Did you mean `--output`?"
        )
        words = words.removesuffix(" --output-dir")
    command, *rest = words.split()
    check_words(command, rest)
    if command not in FORWARDS:
        importlib.import_module(f"extrabert_hf.cli.{command}").make_parser().parse_args(rest[command == "train" :])


def test_a_sentence_may_start_with_a_hyphen():
    check_words("explain", shlex.split("runs/sts '- a list' '-- a b'"))


def test_another_version_of_transformers_leaves_the_check_to_the_parser_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr("extrabert_hf.cli.flags.version", lambda package: "5.999.0")
    check_words("train", ["sts", "--flag_of_a_later_version", "1"])
    check_words("search", ["--flag_of_a_later_version", "1"])
    assert "Did you mean `--output`?" in error_of("predict", "a", "b", "--ouput", "c")  # has no flag of transformers
    assert "--pooling pooler|cls|" in page(capsys, "train", "--help")
    with pytest.raises(InputError, match=r"`--learnin_rate` is not a flag .* Did you mean `--learning_rate`"):
        parse_run("sts", ["--learnin_rate", "1"])


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_page_has_the_width_of_the_terminal_and_no_flag_is_cut(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = page(capsys, "train", "--help")
    assert "\x1b" not in text
    flags = {
        flag
        for each in read_index()["parsers"]["train"]["groups"].values()
        for argument in each
        for flag in argument["flags"]
    }
    cut = (
        {flag for flag in re.findall(r"--\w+", text)}
        - flags
        - {"--help", "--help_all", "--num_processes", "--verbose"}
    )
    assert not cut
    long = [line for line in text.splitlines() if len(line) > columns and len(line.split()) > 8]
    assert all(line.startswith(("    extrabert", "usage")) for line in long)


def test_a_default_is_shown_once_and_only_if_it_says_something(capsys):
    text = " ".join(page(capsys, "train", "--help").split())
    assert "(default: None)" not in text and "(default: False)" not in text and "(default: [])" not in text
    assert "(default: true)" in text and "(default: u v sum_squared difference_squared cosine)" in text
    assert "The default is runs/TASK. (default" not in text


def test_the_recipes_have_the_page_of_their_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipes/sft_sts.py", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "recipes" / "sft_sts.py"), run_name="__main__")
    text = capsys.readouterr().out
    assert text == page(capsys, "train", "sts", "--help") == page(capsys, "help", "train", "sts")
    assert "multitask:" not in text and "multitask:" in page(capsys, "train", "multitask", "-h")

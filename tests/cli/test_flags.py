import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from extrabert_hf.cli.flag_index import COMMAND, describe_parser
from extrabert_hf.cli.flags import FORWARDS, build_parser, check_words, read_index
from extrabert_hf.cli.main import COMMANDS, main
from extrabert_hf.cli.train import make_parser as make_training_parser
from extrabert_hf.errors import InputError
from extrabert_hf.training.arguments import DataArguments, LoraArguments, ModelArguments, TaskArguments
from extrabert_hf.training.command_line import BLOCKS, parse_run
from extrabert_hf.training.help_page import FURTHER, help_page
from extrabert_hf.training.recipe_parser import COMMON
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


def test_help_has_each_argument_of_ours_once_and_help_all_each_argument(capsys):
    listed, everything = LISTED.findall(page(capsys, "train", "--help")), LISTED.findall(page(capsys, "train", "--help_all"))
    assert len(set(listed)) == len(listed) and len(set(everything)) == len(everything)
    ours = {field for block in (TaskArguments, DataArguments, ModelArguments, LoraArguments) for field in vars(block())}
    ours |= {name for name in vars(ExtraBertTrainingArguments) if not name.startswith("_")} & {
        name for name, field in ExtraBertTrainingArguments.__dataclass_fields__.items() if field.init
    }
    ours -= {"hub_token"}  # others can read a flag
    inherited = {action.dest for group in make_training_parser()._action_groups for action in group._group_actions if group.title == FURTHER}
    assert {"data", "pooling", "lora", "r_drop", "head_learning_rate", "num_processes", "config", *COMMON} <= set(listed)
    assert ours - inherited <= set(listed) and not inherited & set(listed)
    real = {action.dest for action in make_training_parser()._actions} - {"hub_token", "push_to_hub_token"}
    assert set(everything) == real | {"num_processes"}

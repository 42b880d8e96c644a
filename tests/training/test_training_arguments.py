import dataclasses
import os
from contextlib import contextmanager

import pytest
import torch
from transformers import TrainingArguments

from extrabert_hf import ExtraBertConfig
from extrabert_hf.errors import InputError
from extrabert_hf.models.configuration_extrabert import TASK_FIELDS
from extrabert_hf.training.arguments import DataArguments, ModelArguments, TaskArguments
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.command_parser import CommandParser, described_arguments
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

OURS = [TaskArguments, DataArguments, ModelArguments]


@pytest.mark.parametrize("block", [*OURS, ExtraBertTrainingArguments])
def test_every_field_of_ours_explains_itself(block):
    inherited = {field.name: field for field in dataclasses.fields(TrainingArguments)}
    for field in dataclasses.fields(block):
        if field is not inherited.get(field.name) and field.init and field.name not in inherited:
            assert field.metadata.get("help"), field.name


def test_model_arguments_are_fields_of_the_config(tiny_bert):
    fields = ModelArguments().config_fields()
    assert ExtraBertConfig(backbone_config=tiny_bert, **fields).to_diff_dict() == (
        ExtraBertConfig(backbone_config=tiny_bert).to_diff_dict()
    )


def test_model_arguments_are_described_by_the_config_alone():
    described = described_arguments(ExtraBertConfig)
    shown = {field.name: field for field in dataclasses.fields(ModelArguments)}
    of_the_task = {"score_range", "class_names", "columns", "conformal"}  # which have no flags
    assert not of_the_task & shown.keys()
    for name in set(TASK_FIELDS) - of_the_task:
        assert shown[name].metadata["help"].replace("%%", "%") == described[name]
    assert "trains badly" in described["similarity_bounds"]
    assert "`" not in "".join(described.values()) and "[" not in described["pooling"]
    assert set(described) <= {field.name for field in dataclasses.fields(ExtraBertConfig)}
    text = " ".join(CommandParser(ModelArguments).format_help().split())
    assert "Whether each feed-forward layer adds to its input instead of replacing it. --pair_features" in text


def test_a_description_ends_at_the_next_heading():
    class Documented:
        """
        A class.

        Args:
            first, second (`int`, *optional*):
                Two numbers, see [`Other`]

                and `None`.
            third (`str`, defaults to `"(a):"`):
                A name.

        Returns:
            fourth (`str`):
                No argument.
        """

    text = "Two numbers, see Other and None."
    assert described_arguments(Documented) == {"first": text, "second": text, "third": "A name."}


def test_arguments_survive_a_copy(tmp_path):
    arguments = ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=False, learning_rate=3e-5)
    copy = dataclasses.replace(arguments, seed=7)
    assert (copy.seed, copy.learning_rate, copy.bf16) == (7, 3e-5, False)


EFFECTS = (
    *("time.perf_counter", "time.time", "time.monotonic", "torch.matmul", "torch.Tensor.__matmul__"),
    *("torch.distributed.init_process_group", "torch.distributed.all_gather_object", "torch.distributed.barrier"),
    *("accelerate.state.PartialState.__init__", "subprocess.Popen.__init__", "pathlib.Path.open", "builtins.open"),
    *("os._Environ.__setitem__", "os._Environ.__delitem__", "os.putenv", "os.makedirs"),
)


@contextmanager
def no_effects(monkeypatch):
    """Makes clocks, products, files, processes, process groups and changes of the environment raise."""

    def refuse(*args, **kwargs):
        raise AssertionError("arguments must be inert")

    before = dict(os.environ)
    with monkeypatch.context() as patch:
        for name in EFFECTS:
            patch.setattr(name, refuse)
        yield
    assert dict(os.environ) == before


LAUNCHED = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}


@pytest.fixture
def launched(monkeypatch):
    """Sets the environment of a launcher with two processes: a process that joins would wait for the other."""
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)


def test_arguments_are_inert(launched, monkeypatch, tmp_path):
    with no_effects(monkeypatch):
        arguments = ExtraBertTrainingArguments(output_dir=str(tmp_path / "run"), hub_token="secret", seed=7)
    assert (arguments.bf16, arguments.hub_token, arguments.mixed_precision) == (None, "secret", "no")


def test_a_parsed_run_is_inert(launched, monkeypatch):
    with no_effects(monkeypatch):
        runs = parse_run("sts", ["--seed", "7"]), parse_multitask_run(["--seed", "7"])
    assert [(run.training.seed, run.training.bf16) for run in runs] == [(7, None)] * 2


def test_the_first_use_of_the_device_sets_it_up(tmp_path):
    arguments = ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=False, use_cpu=True)
    assert (arguments.world_size, arguments.process_index, arguments.n_gpu) == (1, 0, 0)
    assert arguments.device == torch.device("cpu")


def test_a_balance_that_there_is_none_of_is_refused_from_python_too(tmp_path):
    with pytest.raises(InputError, match="`label_balance` must be 'none', 'weights' or 'sampling', got 'weight'"):
        ExtraBertTrainingArguments(output_dir=str(tmp_path), label_balance="weight")


@pytest.mark.parametrize(("given", "warns"), [({}, False), ({"distillation": 0.9}, True)])
def test_a_distillation_without_teachers_is_logged(given, warns, tmp_path, caplog):
    ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=False, **given)
    assert ("without `teachers`, `distillation`" in caplog.text) == warns

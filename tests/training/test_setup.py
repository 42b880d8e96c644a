import dataclasses
import os

import pytest
import torch
from transformers import TrainingArguments

from extrabert_hf.errors import InputError
from extrabert_hf.training.setup import choose_precision, prepare_process
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

on_cpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="about machines without an accelerator")


@on_cpu
def test_the_precision_is_measured_and_its_reason_logged(tmp_path, caplog):
    with caplog.at_level("DEBUG"):
        prepared = prepare_process(ExtraBertTrainingArguments(output_dir=str(tmp_path)))
    assert isinstance(prepared.bf16, bool)
    assert "on this CPU" in prepared.precision_reason
    (line,) = [record.message for record in caplog.records if record.message.startswith("precision: ")]
    assert line.endswith(f"({prepared.precision_reason})")


@pytest.mark.parametrize("bf16", [True, False])
def test_a_precision_that_is_set_is_not_measured(tmp_path, monkeypatch, bf16):
    monkeypatch.setattr("extrabert_hf.training.setup.choose_bf16", None)
    prepared = prepare_process(ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=bf16))
    assert (prepared.bf16, prepared.precision_reason) == (bf16, "set by --bf16")
    assert prepared.mixed_precision == ("bf16" if bf16 else "no")


@on_cpu
def test_float16_leaves_no_choice(tmp_path):
    arguments = ExtraBertTrainingArguments(output_dir=str(tmp_path))
    arguments.fp16 = True  # refused on the CPU when the arguments are built
    assert choose_precision(arguments) == (False, "set by --fp16")


def test_prepared_arguments_are_a_copy_and_are_prepared_once(tmp_path, monkeypatch):
    monkeypatch.setattr("extrabert_hf.training.setup.choose_bf16", lambda use_cpu: (False, "measured"))
    arguments = ExtraBertTrainingArguments(output_dir=str(tmp_path))
    prepared = prepare_process(arguments)
    assert (arguments.bf16, arguments.precision_reason) == (None, None)
    assert (prepared.bf16, prepared.precision_reason) == (False, "measured")
    assert prepare_process(prepared) is prepared


def test_a_token_moves_to_the_environment_and_out_of_the_arguments(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "of the environment")
    arguments = ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=False, hub_token="of the arguments")
    assert os.environ["HF_TOKEN"] == "of the environment"
    assert prepare_process(arguments).hub_token is None
    assert os.environ["HF_TOKEN"] == "of the arguments"


def test_processes_that_found_no_group_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(ExtraBertTrainingArguments, "world_size", property(lambda self: 1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="started 2 processes, but they make a group of 1"):
        prepare_process(ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=False))


@pytest.mark.parametrize("choices", [[True, False], [False, True], [False, False], [True, True]])
def test_all_processes_use_float32_unless_bfloat16_is_faster_on_each(tmp_path, monkeypatch, choices):
    monkeypatch.setattr(ExtraBertTrainingArguments, "world_size", property(lambda self: 2))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("atexit.register", lambda function: None)
    monkeypatch.setattr("torch.distributed.all_gather_object", lambda found, own: found.__setitem__(slice(2), choices))
    monkeypatch.setattr("extrabert_hf.training.setup.choose_precision", lambda args: (choices[0], "measured"))
    prepared = prepare_process(ExtraBertTrainingArguments(output_dir=str(tmp_path)))
    assert prepared.bf16 is all(choices)
    assert prepared.mixed_precision == ("bf16" if all(choices) else "no")
    assert (prepared.precision_reason == "measured") == (choices[0] == choices[1])


def test_plain_training_arguments_get_our_defaults_for_our_fields(tmp_path):
    plain = TrainingArguments(output_dir=str(tmp_path), learning_rate=3e-4, use_cpu=True)
    before = dataclasses.asdict(plain)
    prepared = prepare_process(plain)
    assert (prepared.learning_rate, prepared.per_device_train_batch_size) == (3e-4, 8)  # transformers' default
    assert (prepared.head_learning_rate, prepared.length_buckets, prepared.unpad) == (1e-3, True, True)
    assert prepared.max_tokens_per_batch is None and not prepared.changes_loss
    assert dataclasses.asdict(plain) == before

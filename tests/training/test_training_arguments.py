import dataclasses

import pytest
from transformers import TrainingArguments

from extrabert_hf import ExtraBertConfig
from extrabert_hf.errors import InputError
from extrabert_hf.training.arguments import DataArguments, ModelArguments, TaskArguments
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


def test_arguments_survive_a_copy(tmp_path):
    arguments = ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=False, learning_rate=3e-5)
    copy = dataclasses.replace(arguments, seed=7)
    assert (copy.seed, copy.learning_rate, copy.bf16) == (7, 3e-5, False)


def test_processes_that_found_no_group_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(ExtraBertTrainingArguments, "world_size", property(lambda self: 1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(TrainingArguments, "__post_init__", lambda self: None)
    with pytest.raises(InputError, match="started 2 processes, but they make a group of 1"):
        ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=False)


def test_a_balance_that_there_is_none_of_is_refused_from_python_too(tmp_path):
    with pytest.raises(InputError, match="`label_balance` must be 'none', 'weights' or 'sampling', got 'weight'"):
        ExtraBertTrainingArguments(output_dir=str(tmp_path), label_balance="weight")


@pytest.mark.parametrize(("given", "warns"), [({}, False), ({"distillation": 0.9}, True)])
def test_a_distillation_without_teachers_is_told(given, warns, tmp_path, caplog):
    ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=False, **given)
    assert ("without `teachers` nothing is done" in caplog.text) == warns

import shutil
from pathlib import Path

import pytest
import torch

from extrabert_hf import ExtraBertConfig, ExtraBertForSentiment
from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.lora import with_lora
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.training.checkpoints import check_same_model, find_checkpoint
from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.finetune import finetune
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments
from tests.conftest import tiny_run


def checkpoint(folder, step, complete=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text("{}")
    if complete:
        (path / "complete").touch()
    return path


def found(folder, **arguments):
    return find_checkpoint(ExtraBertTrainingArguments(output_dir=str(folder), bf16=False, **arguments))


def test_the_last_checkpoint_is_that_of_the_most_steps_which_was_written_to_its_end(tmp_path):
    assert RunFolder(tmp_path).last_checkpoint is None
    for step, complete in ((9, True), (10, True), (11, False)):
        checkpoint(tmp_path, step, complete)
    assert RunFolder(tmp_path).last_checkpoint == tmp_path / "checkpoint-10"
    assert found(tmp_path, resume_from_checkpoint="last") == str(tmp_path / "checkpoint-10")


def test_a_checkpoint_can_be_named(tmp_path):
    named = str(checkpoint(tmp_path / "other", 3, complete=False))
    assert found(tmp_path / "run", resume_from_checkpoint=named) == named


def test_a_new_run_is_not_mixed_into_an_earlier_one(tmp_path):
    checkpoint(tmp_path, 5)
    with pytest.raises(InputError, match="holds checkpoints of an earlier run: continue with --resume"):
        found(tmp_path)
    assert found(tmp_path, overwrite_output_dir=True) is None
    assert found(tmp_path / "new") is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("last", "'last' needs a complete checkpoint in"),
        ("nowhere", "must be 'last' or a checkpoint folder, got"),
    ],
)
def test_what_is_not_there_is_not_resumed_from(word, message, tmp_path):
    checkpoint(tmp_path, 5, complete=False)
    with pytest.raises(InputError, match=message):
        found(tmp_path, resume_from_checkpoint=word)


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"`output_dir` must be a folder, got the file "):
        found(tmp_path / "file")


def test_what_is_cleared_are_the_results_of_an_earlier_run_alone(tmp_path):
    for name in ("checkpoint-3", "predictions", "scored", "adapter", "best", "figures", "notes"):
        (tmp_path / name).mkdir()
    for name in ("metrics.json", "gradient_conflicts.csv", "plan.txt"):
        (tmp_path / name).touch()
    RunFolder(tmp_path).clear_results()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "plan.txt"]


def test_a_run_goes_on_only_from_its_own_model(tiny_bert, tmp_path):
    def model(pooling):
        return ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert, pooling=pooling))

    model("mean").save_pretrained(tmp_path)
    check_same_model(model("mean"), str(tmp_path))
    with pytest.raises(InputError, match="whose `pooling` is dot, got mean"):
        check_same_model(model("dot"), str(tmp_path))
    with pytest.raises(InputError, match=r"`lora` must be False to resume from .*, got True"):
        check_same_model(with_lora(model("mean")), str(tmp_path))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"r": 4}, "r"),
        ({"alpha": 64}, "lora_alpha"),
        ({"dropout": 0.5}, "lora_dropout"),
        ({"target_modules": ["query"]}, "target_modules"),
    ],
)
def test_a_run_goes_on_only_from_its_own_adapter(change, name, tiny_bert, tmp_path):
    def adapted(**options):
        return with_lora(ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert)), **options)

    model = adapted(r=2)
    model.save_pretrained(tmp_path)
    model.get_base_model().config.save_pretrained(tmp_path)
    check_same_model(adapted(r=2), str(tmp_path))
    with pytest.raises(InputError, match=f"whose `{name}` is"):
        check_same_model(adapted(**{"r": 2} | change), str(tmp_path))


class Canary:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["rng_state.pth", "optimizer.pt"])
def test_a_checkpoint_with_a_pickle_of_more_than_tensors_is_refused(name, finished_run, tiny_encoder, tmp_path):
    folder = shutil.copytree(finished_run("sts"), tmp_path / "run")
    checkpoint = min(folder.glob("checkpoint-*"))
    torch.save({"state": Canary(tmp_path / "canary")}, checkpoint / name)
    flags = ["--num_train_epochs", "2", "--learning_rate", "1e-3", "--logging_steps", "5", "--lora", "true"]
    flags += ["--lora_r", "4", "--resume_from_checkpoint", str(checkpoint)]
    with pytest.raises(InputError, match=r"`resume_from_checkpoint` holds a pickle file .* never loaded") as error:
        finetune(parse_run("sts", tiny_run(tiny_encoder, folder, *flags)))
    assert not (tmp_path / "canary").exists() and len(str(error.value).splitlines()) == 1

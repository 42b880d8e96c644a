import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from extrabert_hf import ExtraBertConfig, ExtraBertForSentiment
from extrabert_hf.errors import InputError
from extrabert_hf.files import STATE, write_text
from extrabert_hf.pretrained.lora import with_lora
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import hold_run
from extrabert_hf.training.checkpoints import check_same_model, find_checkpoint
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


def checkpoint(folder, step, complete=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 99}))
    save_file({"weight": torch.ones(8)}, path / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.ones(8)}, path / name)
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


RESULTS = ("metrics.json", "gradient_conflicts.csv", "predictions/sst-dev.csv", "scored/sst-dev.csv")
RESULTS += ("adapter/config.json", "best/sst/config.json", "figures/training.png", "checkpoint-3/optimizer.pt")
OF_THE_USER = ("plan.txt", "notes/a.txt", *(f"{Path(name).parent}/notes.txt" for name in RESULTS if "/" in name))


def test_what_is_cleared_are_the_results_of_an_earlier_run_alone(tmp_path):
    with hold_run("output_dir", tmp_path):
        for name in RESULTS:
            write_text(tmp_path / name, "result")
    for name in OF_THE_USER:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    RunFolder(tmp_path).clear_results()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and STATE not in path.parts]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in left) == sorted(OF_THE_USER)


def test_a_folder_of_the_user_is_not_cleared(tmp_path):
    for name in (*RESULTS, *OF_THE_USER):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    RunFolder(tmp_path).clear_results()
    assert all((tmp_path / name).read_text() == "mine" for name in (*RESULTS, *OF_THE_USER))


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

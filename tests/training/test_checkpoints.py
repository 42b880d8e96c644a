import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from extrabert_hf import ExtraBertConfig, ExtraBertForSentiment
from extrabert_hf.errors import InputError
from extrabert_hf.files import write_text
from extrabert_hf.manifest import STATE
from extrabert_hf.pretrained.lora import with_lora
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import hold_run
from extrabert_hf.training.checkpoints import check_same_model, find_checkpoint, with_saved_precision
from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.finetune import run_finetuning
from extrabert_hf.training.run_record import RunRecord
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments
from tests.conftest import tiny_run


def checkpoint(folder, step, complete=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 99}))
    save_file({"weight": torch.ones(8)}, path / "model.safetensors")
    (path / "config.json").write_text("{}")
    (path / "run_record.json").write_text('{"arguments": {}}')
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


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    """Changes one byte of the first stored tensor."""
    content = bytearray(path.read_bytes())
    content[content.index(b"\x80\x3f")] ^= 1  # of a 1.0
    path.write_bytes(content)


DAMAGES = [
    *((name, damage) for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth") for damage in (truncate, flip)),
    *((name, damage) for name in ("trainer_state.json", "run_record.json", "config.json") for damage in (truncate,)),
    ("model.safetensors", truncate),
    *((name, Path.unlink) for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors")),
    *((name, empty) for name in ("optimizer.pt", "trainer_state.json", "model.safetensors")),
    ("trainer_state.json", lambda path: path.write_text("[]")),
    ("rng_state.pth", lambda path: path.rename(path.with_name("rng_state_1.pth"))),  # of two processes, one is missing
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_refused_with_the_earlier_one_to_use(name, damage, tmp_path):
    earlier, last = checkpoint(tmp_path, 5), checkpoint(tmp_path, 9)
    checkpoint(tmp_path, 7, complete=False)
    damage(last / name)
    for named in ("last", str(last)):
        with pytest.raises(InputError) as caught:
            found(tmp_path, resume_from_checkpoint=named)
        message = str(caught.value)
        assert message.startswith(f"the checkpoint {last} can't be resumed from: ") and "\n" not in message
        assert name.split(".")[0] in message
        assert message.endswith(f" Use --resume_from_checkpoint {earlier}, or delete the damaged folder.")
    damage(earlier / name)
    with pytest.raises(InputError, match=r"Use a new run with --overwrite_output_dir\."):
        found(tmp_path, resume_from_checkpoint="last")


def test_the_folder_of_a_run_is_no_checkpoint(tmp_path):
    last = checkpoint(tmp_path, 5)
    (tmp_path / "trainer_state.json").write_text("{}")
    with pytest.raises(InputError, match=f"must be a checkpoint, got the folder of a run, .* checkpoint is {last}"):
        found(tmp_path, resume_from_checkpoint=str(tmp_path))


def test_a_new_run_is_not_mixed_into_an_earlier_one(tmp_path):
    checkpoint(tmp_path, 5)
    with pytest.raises(InputError, match="holds checkpoints of an earlier run: continue with `--resume"):
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


def test_a_run_does_not_go_on_from_an_encoder_of_another_size(tiny_bert, tmp_path):
    def model(**sizes):
        return ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert | sizes))

    model().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"encoder.layer.2\..* has the size \[16, 16\], got no such weight in "):
        check_same_model(model(num_hidden_layers=3), str(tmp_path))
    with pytest.raises(InputError, match=r"word_embeddings.weight` has the size \[98, 16\], got the size \[99, 16\]"):
        check_same_model(model(vocab_size=98), str(tmp_path))


@pytest.mark.parametrize(("given", "resumed"), [({}, True), ({"bf16": False}, False)])
def test_a_precision_that_is_left_open_is_that_of_the_checkpoint(given, resumed, tmp_path):
    args = ExtraBertTrainingArguments(output_dir=str(tmp_path), **given)
    assert with_saved_precision(args, None) is args
    RunRecord({"bf16": True}).write(tmp_path)
    assert with_saved_precision(args, str(tmp_path)).bf16 is resumed


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
        run_finetuning(parse_run("sts", tiny_run(tiny_encoder, folder, *flags)))
    assert not (tmp_path / "canary").exists() and len(str(error.value).splitlines()) == 1

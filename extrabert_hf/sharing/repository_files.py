"""Which files of a run's folder go into a repository on the Hub, and what they say there."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.models.adapter_files_extrabert import CONFIG_FILE, WEIGHTS_FILE
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.sharing.model_card import MARK, HubArguments, render_card

logger = logging.getLogger(__name__)

CODE_AND_TOKENIZER = (
    "*_extrabert.py",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
ADAPTER_FOLDER = "adapter"


def default_name(folder: Path) -> str:
    """Gives the repository's name where none was told."""
    return f"extrabert-{re.sub(r'[^A-Za-z0-9._-]+', '-', folder.resolve().name).strip('-.')}"


def check_names(folders: Sequence[Path], name: str | None) -> None:
    """Raises [`InputError`] for a name that the Hub has not, or one for two folders, the second over the first."""
    names = [name or default_name(folder) for folder in folders]
    for each in names:
        try:
            validate_repo_id(each)
        except HFValidationError as error:
            raise InputError(
                f"`hub_model_id` must be 'name' or 'owner/name', got {each!r}: {one_line(error)}"
            ) from error
    if len(set(names)) < len(names):
        raise InputError(f"`folders` must have a repository each, got {len(names)} for {', '.join(set(names))}.")


def files_to_push(run: RunFolder, *, adapter_only: bool = False) -> dict[str, Path | bytes]:
    """
    Picks what goes into the repository: never checkpoints, pickled arguments, or files with the rows' labels.

    Args:
        run ([`RunFolder`]):
            The run.
        adapter_only (`bool`, defaults to `False`):
            Whether the weights are those of the adapter.

    Returns:
        `dict[str, Path | bytes]`: a file or its content by its path in the repository.
    """
    patterns = CODE_AND_TOKENIZER if adapter_only else (*CODE_AND_TOKENIZER, *WEIGHTS)
    files: dict[str, Path | bytes] = {p.name: p for pattern in patterns for p in run.path.glob(pattern) if p.is_file()}
    if not adapter_only:
        if not any(path.endswith(".safetensors") for path in files):
            raise InputError(f"`folder` must hold model.safetensors, got {run.path} with none.")
        return files | {"config.json": _json(run.config)}
    adapter = run.path / ADAPTER_FOLDER
    if not (adapter / WEIGHTS_FILE).is_file():
        raise InputError(f"`adapter_only` is for a run with --lora true, {run.path} has no {ADAPTER_FOLDER}/ folder.")
    lora = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    lora["base_model_name_or_path"] = hub_encoder(run)
    return files | {
        "config.json": _json(run.config | {"adapter_subfolder": ADAPTER_FOLDER}),
        f"{ADAPTER_FOLDER}/{CONFIG_FILE}": _json(lora),
        f"{ADAPTER_FOLDER}/{WEIGHTS_FILE}": adapter / WEIGHTS_FILE,
    }


def described(run: RunFolder, repo_id: str, sharing: HubArguments, adapter_of: str | None) -> dict[str, Path | bytes]:
    """Draws the figures, renders the card into the folder, and gives both with the scores that can be shared."""
    figures = run.draw_figures()
    if not run.tasks:
        logger.warning("%s has no metrics.json: the card has no scores", run.path)
    card = run.path / "README.md"
    if card.is_file() and MARK not in card.read_text(encoding="utf-8"):
        logger.info("%s was written by hand and is pushed as it is", card)
    else:
        logger.info("the card says licence %s: --hub_license tells another", sharing.hub_license)
        card.write_text(render_card(run, repo_id, sharing, figures, adapter_of=adapter_of), encoding="utf-8")
    files: dict[str, Path | bytes] = {path: run.path / path for path in figures}
    return files | {"README.md": card} | ({"metrics.json": _json(run.metrics)} if run.metrics else {})


def hub_encoder(run: RunFolder) -> str:
    """Gives the Hub id of the encoder that a run's adapter is for."""
    if run.hub_encoder is None:
        names = ", ".join(sorted({entry["model"]["encoder"] for entry in run.tasks.values()})) or "not on record"
        raise InputError(
            f"`adapter_only` is for an encoder from the Hub, the run's is {names}: push the merged model."
        )
    return run.hub_encoder


def preview_push(folder: str | Path, name: str | None, *, sharing: HubArguments, adapter_only: bool = False) -> str:
    """Renders a folder's card as a push would, and lists what would go up, a line a file, without asking the Hub."""
    run = RunFolder(Path(folder))
    name = name or default_name(run.path)
    files = files_to_push(run, adapter_only=adapter_only)
    files |= described(run, name, sharing, hub_encoder(run) if adapter_only else None)
    sizes = {path: len(file) if isinstance(file, bytes) else file.stat().st_size for path, file in files.items()}
    lines = [f"{size / 1e6:10.3f} MB  {path}" for path, size in sorted(sizes.items())]
    return "\n".join([f"{name}: {len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB", *lines])


def _json(value: dict) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()

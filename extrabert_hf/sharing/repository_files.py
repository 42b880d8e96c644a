"""The files of a repository on the Hub: the files of a trained model's folder, without local paths."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.files import write_text
from extrabert_hf.manifest import record
from extrabert_hf.models.adapter_files_extrabert import CONFIG_FILE, WEIGHTS_FILE
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import hold_run
from extrabert_hf.sharing.model_card import THIS_FOLDER, HubArguments, render_card
from extrabert_hf.sharing.shared_run import SharedRun

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


def default_name(folder: Path) -> str:
    """Returns the default name of the repository for a folder."""
    return f"extrabert-{re.sub(r'[^A-Za-z0-9._-]+', '-', folder.resolve().name).strip('-.')}"


def check_names(folders: Sequence[Path], name: str | None) -> None:
    """Raises [`InputError`] for a name that the Hub does not allow, or if several folders have one name."""
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


def files_to_push(run: SharedRun, *, adapter_only: bool = False) -> dict[str, Path | bytes]:
    """
    Selects code, tokenizer, configuration and weights: no checkpoints, no pickled arguments, no rows of the data.

    Args:
        run ([`SharedRun`]):
            The trained model.
        adapter_only (`bool`, defaults to `False`):
            Whether to take the weights of the adapter instead of those of the whole model.

    Returns:
        `dict[str, Path | bytes]`: a file or its content by the path in the repository.

    Raises:
        [`InputError`]: if the folder has no such weights.
    """
    patterns = CODE_AND_TOKENIZER if adapter_only else (*CODE_AND_TOKENIZER, *WEIGHTS)
    files: dict[str, Path | bytes] = {p.name: p for pattern in patterns for p in run.path.glob(pattern) if p.is_file()}
    files |= {file.name: file for file in run.own_code}
    if not adapter_only:
        if not any(path.endswith(".safetensors") for path in files):
            raise InputError(f"`folder` must hold {run.folder.weights_file.name}, got {run.path} with none.")
        return files | {RunFolder.CONFIG: _json(run.config)}
    adapter = run.folder.adapter
    if not (adapter / WEIGHTS_FILE).is_file():
        raise InputError(
            f"`adapter_only` is for a run with --lora true, but {run.path} has no {RunFolder.ADAPTER}/ folder."
        )
    lora = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    lora["base_model_name_or_path"] = hub_encoder(run)
    return files | {
        RunFolder.CONFIG: _json(run.config | {"adapter_subfolder": RunFolder.ADAPTER}),
        f"{RunFolder.ADAPTER}/{CONFIG_FILE}": _json(lora),
        f"{RunFolder.ADAPTER}/{WEIGHTS_FILE}": adapter / WEIGHTS_FILE,
    }


def refuse_links(run: SharedRun, files: dict[str, Path | bytes]) -> None:
    """Raises [`InputError`] for a file that is a link to a place outside of the folder: a push would publish it."""
    folder = run.path.resolve()
    is_cache = folder.parent.name == "snapshots"  # of the Hub's client, whose files are links to ../../blobs
    places = [folder, folder.parents[1]] if is_cache else [folder]
    for file in files.values():
        if isinstance(file, Path) and not any(file.resolve().is_relative_to(place) for place in places):
            raise InputError(
                f"`folder` must hold the files that are pushed, but {file} is a link to {file.resolve()}: replace the "
                "link by a copy of the file if it may be published."
            )


def write_card(folder: str | Path, sharing: HubArguments | None = None) -> None:
    """
    Writes the model card of a folder, without figures; a README.md that was written by hand stays as it is.

    The examples of the card run in the folder and load ".", so that they are right wherever the folder is moved to. A
    relative path would be the name of a repository on the Hub, perhaps of a stranger, where the folder is missing.

    Args:
        folder (`str` or `Path`):
            Output folder of a run, or any folder with a saved model of this package.
        sharing ([`HubArguments`], *optional*):
            Licence and language.

    Raises:
        [`InputError`]: if the folder has no model of this package, or a file in it cannot be read.
    """
    run = SharedRun(Path(folder))
    with hold_run("folder", run.path):
        text = _card_text(run, THIS_FOLDER, sharing or HubArguments(), {}, None)
        if text is not None:
            _save_card(run, text)


def described(
    run: SharedRun, repo_id: str, sharing: HubArguments, adapter_of: str | None, *, keeps_card: bool = False
) -> dict[str, Path | bytes]:
    """
    Draws the figures and renders the card into the folder; a card that was written by hand stays as it is.

    Args:
        run ([`SharedRun`]):
            The trained model.
        repo_id (`str`):
            The repository that the examples of the card load.
        sharing ([`HubArguments`]):
            Licence and language.
        adapter_of (`str`, *optional*):
            Hub id of the encoder, if only an adapter is pushed.
        keeps_card (`bool`, defaults to `False`):
            Whether the folder keeps the card that it has, whose examples load the folder.

    Returns:
        `dict[str, Path | bytes]`: the card, the figures and the metrics by the path in the repository.
    """
    with hold_run("folder", run.path):
        card = run.folder.card_file
        figures = run.draw_figures()
        files: dict[str, Path | bytes] = {card.name: card} | {path: run.path / path for path in figures}
        if not run.tasks:
            logger.warning("%s has no %s: the card has no scores", run.path, RunFolder.METRICS)
        text = _card_text(run, repo_id, sharing, figures, adapter_of)
        if text is None:
            own = card.read_text(encoding="utf-8", errors="replace")
            for path in (THIS_FOLDER, str(run.path)):
                if f'"{path}"' in own:
                    logger.warning('%s loads the folder "%s": write "%s" there', card, path, repo_id)
        else:
            logger.info("the card states the licence %s: change it with --hub_license", sharing.hub_license)
            files[card.name] = text.encode()
            if not (keeps_card and card.exists()):
                _save_card(run, text)
    return files if run.metrics is None else files | {RunFolder.METRICS: _json(run.metrics.to_dict())}


def _card_text(
    run: SharedRun, model_id: str, sharing: HubArguments, figures: dict[str, str], adapter_of: str | None
) -> str | None:
    """Renders the card; returns `None` and logs why if the folder has a card of the user."""
    card = run.folder.card_file
    if card.exists() and not run.folder.has_own_card:
        logger.info("%s was written by hand and stays as it is", card)
        return None
    return render_card(run, model_id, sharing, figures, adapter_of=adapter_of)


def _save_card(run: SharedRun, text: str) -> None:
    card = run.folder.card_file
    if card.exists():
        record(run.path, [card.name])  # rendered by a version without a manifest
    write_text(card, text)


def hub_encoder(run: SharedRun) -> str:
    """Returns the Hub id of the adapter's encoder; an [`InputError`] for an encoder from a local folder."""
    if run.hub_encoder is None:
        names = ", ".join(sorted({entry.model.encoder for entry in run.tasks.values()})) or "not on record"
        raise InputError(
            f"`adapter_only` is for an encoder from the Hub, but the encoder of the run is {names}: push the merged "
            f"model."
        )
    return run.hub_encoder


def preview_push(folder: str | Path, name: str | None, *, sharing: HubArguments, adapter_only: bool = False) -> str:
    """Renders the card as a push does; returns a line for each file that a push would upload. Uses no network."""
    run = SharedRun(Path(folder))
    name = name or default_name(run.path)
    files = files_to_push(run, adapter_only=adapter_only)
    files |= described(run, name, sharing, hub_encoder(run) if adapter_only else None)
    refuse_links(run, files)
    sizes = {path: len(file) if isinstance(file, bytes) else file.stat().st_size for path, file in files.items()}
    lines = [f"{size / 1e6:10.3f} MB  {path}" for path, size in sorted(sizes.items())]
    return "\n".join([f"{name}: {len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB", *lines])


def _json(value: dict) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()

"""Pushes a trained folder to the Hub in one commit. A failed push is a one-line error; the folder stays unchanged."""

import hashlib
import logging
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError, HTTPError
from tqdm import tqdm

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.sharing.repository_files import default_name, described, files_to_push, hub_encoder, refuse_links
from extrabert_hf.sharing.shared_run import SharedRun

logger = logging.getLogger(__name__)

NEW_REPOSITORY = {".gitattributes"}
"""Files that the Hub adds to a new repository."""


def push_folder(
    folder: str | Path,
    name: str | None = None,
    *,
    sharing: HubArguments | None = None,
    adapter_only: bool = False,
    message: str = "Upload of extrabert_hf",
    claimed: bool = False,
    again: str | None = None,
) -> str:
    """
    Pushes a trained model with its code, tokenizer, card, figures and scores.

    Renders the card into the folder first, unless the folder has a card that was written by hand. All files are pushed
    in one commit, so a failed push leaves the repository unchanged. Another try uploads only the missing files.

    Args:
        folder (`str` or `Path`):
            Output folder of a training run, or any folder with a saved model of this package.
        name (`str`, *optional*):
            `"owner/name"`, or a name for the owner of the token; by default `extrabert-` and the folder's name.
        sharing ([`HubArguments`], *optional*):
            Visibility, licence, language, and whether to update a repository that holds another model.
        adapter_only (`bool`, defaults to `False`):
            For a run with LoRA: whether to push only the adapter, the pooling and the head, without the encoder.
        message (`str`, *optional*):
            Message of the commit.
        claimed (`bool`, defaults to `False`):
            Whether [`claim_repository`] was called for this repository.
        again (`str`, *optional*):
            The command that the error names for another try; by default the command that pushes this folder.

    Returns:
        `str`: the repository's id, `"owner/name"`.

    Raises:
        [`InputError`]: if the push fails.
    """
    sharing = sharing or HubArguments()
    run = SharedRun(Path(folder))
    files = files_to_push(run, adapter_only=adapter_only)  # before the first request to the Hub
    refuse_links(run, files | {run.folder.card_file.name: run.folder.card_file})
    name = name or default_name(run.path)
    values = {field.name: getattr(sharing, field.name) for field in fields(HubArguments)}
    flags = [f"--{field} {value}" for field, value in values.items() if value != getattr(HubArguments, field)]
    flags += ["--adapter_only"] * adapter_only
    words = ["extrabert", "push", str(folder), "--hub_model_id", name, *" ".join(flags).split()]
    again = again or shlex.join(words)
    api = HfApi()
    if run.own_code:
        names = ", ".join(file.name for file in run.own_code)
        logger.warning("the push includes the Python code of the encoder or the tokenizer: %s", names)
    with hub_errors_in_one_line(name, again):
        repo_id = name if claimed else claim_repository(name, sharing, run)
    files |= described(run, repo_id, sharing, hub_encoder(run) if adapter_only else None, keeps_card=True)
    refuse_links(run, files)
    operations = [CommitOperationAdd(path, content) for path, content in sorted(files.items())]
    with hub_errors_in_one_line(name, again):
        api.create_commit(repo_id, operations, commit_message=message)
    logger.info("the model is at %s/%s", api.endpoint, repo_id)
    return repo_id


def claim_repository(name: str, sharing: HubArguments, run: SharedRun | None = None) -> str:
    """
    Creates a repository, or accepts one that is empty or holds the same model.

    Args:
        name (`str`):
            As for [`push_folder`].
        sharing ([`HubArguments`]):
            Visibility, and whether the repository may hold another model.
        run ([`SharedRun`], *optional*):
            The run to push. `None`, as before training, means that the repository must be empty.

    Returns:
        `str`: the repository's id, `"owner/name"`.

    Raises:
        [`InputError`]: if it holds another model. Errors of the Hub's client are not converted.
    """
    api = HfApi()
    repo_id = api.create_repo(name, private=sharing.hub_private_repo, exist_ok=True).repo_id
    existing = {entry.path: entry for entry in api.list_repo_tree(repo_id, recursive=True)}
    is_retry = run is not None and any(
        path.endswith(".safetensors")
        and (run.path / path).is_file()
        and entry.lfs is not None
        and entry.lfs.sha256 == _sha256(run.path / path)
        for path, entry in existing.items()
    )
    if existing.keys() - NEW_REPOSITORY and not sharing.hub_update and not is_retry:
        raise InputError(
            f"`hub_model_id` must be new, {repo_id} holds another model: choose another name, or --hub_update true to "
            "add a new version to it."
        )
    return repo_id


def add_to_collection(title: str, repo_ids: Sequence[str], *, private: bool = False, again: str | None = None) -> str:
    """
    Adds models to a collection of the first model's owner and returns its address; creates the collection if needed.

    Args:
        title (`str`):
            Title of the collection.
        repo_ids (`Sequence[str]`):
            Ids of the models, one or more.
        private (`bool`, defaults to `False`):
            Whether a new collection is private.
        again (`str`, *optional*):
            The command that the error names for another try.
    """
    api = HfApi()
    with hub_errors_in_one_line(title, again):
        owner = repo_ids[0].split("/")[0]
        collection = api.create_collection(title, namespace=owner, private=private, exists_ok=True)
        for repo_id in repo_ids:
            api.add_collection_item(collection.slug, repo_id, "model", exists_ok=True)
    logger.info("the collection is at %s", collection.url)
    return collection.url


@contextmanager
def hub_errors_in_one_line(name: str, again: str | None = None) -> Iterator[None]:
    """Converts errors of the Hub's client to an [`InputError`] with advice; it never contains the token."""
    try:
        yield
        return
    except InputError:
        raise
    except HFValidationError as error:
        reason = f"`hub_model_id` must be 'name' or 'owner/name', got {name!r}: {_message(error)}"
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else error  # of one of several uploads
        if not isinstance(cause, (HTTPError, OSError, ValueError)):
            raise
        kept = "" if again is None else f" The folder is unchanged; to try again: {again}"
        reason = _reason(cause, name) + kept
    for bar in list(tqdm._instances):  # bars of uploads would print after the error; no public list
        bar.close()
    raise InputError(reason)


def _reason(error: Exception, name: str) -> str:
    message = _message(error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and (found := re.search(r"\b(401|403|500|502|503|504)\b", message)):
        status = int(found[1])  # the transfer of large files raises errors without a response
    if status == 401 and get_token() is None:
        return f"the Hub needs a token to push {name!r}: `hf auth login`, or HF_TOKEN."
    if status == 401:
        return f"the Hub does not accept the token (401) for {name!r}: `hf auth login`, or another HF_TOKEN."
    if status == 403:
        return f"the token must have the right to write to {name!r}, the Hub refused it (403): {message}."
    if status is not None:
        return f"the Hub failed on {name!r} with status {status}: {message}."
    if isinstance(error, ValueError):
        return f"the Hub does not accept {name!r}: {message}."
    return f"the connection to the Hub broke off on {name!r}: {message}."


def _message(error: Exception) -> str:
    """Returns the message of the server, or of the error, on one line of at most 200 characters without the token."""
    server_message = getattr(error, "server_message", None)
    message = " ".join(server_message.split()) if server_message else one_line(error)
    token = get_token()
    return (message.replace(token, "...") if token else message)[:200].rstrip(".")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()

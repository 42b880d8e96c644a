"""A trained folder -> a repository on the Hub, in one commit; a failure is told in one line and loses nothing."""

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

from extrabert_hf.errors import InputError
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.sharing.repository_files import default_name, described, files_to_push, hub_encoder
from extrabert_hf.sharing.shared_run import SharedRun

logger = logging.getLogger(__name__)

NEW_REPOSITORY = {".gitattributes"}
"""What the Hub itself puts into a repository."""


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

    The card is rendered into the folder first, where no one has written one by hand. All files go up in one commit: a
    push that fails leaves the repository as it was, and one that is tried again sends only what is not there yet.

    Args:
        folder (`str` or `Path`):
            What a training recipe has left, or any folder with a saved model of this package.
        name (`str`, *optional*):
            `"owner/name"`, or a name alone for the owner of the token; `extrabert-` and the folder's name by default.
        sharing ([`HubArguments`], *optional*):
            Who sees it, licence, language, and whether a repository that holds another model gets a new version.
        adapter_only (`bool`, defaults to `False`):
            Of a run with LoRA, push the adapter and what was trained in full; the encoder stays where it is.
        message (`str`, *optional*):
            Of the commit.
        claimed (`bool`, defaults to `False`):
            Whether [`claim_repository`] has seen that the repository is free.
        again (`str`, *optional*):
            The command that a failure tells to try again; by default the one that pushes this folder.

    Returns:
        `str`: the repository's id, `"owner/name"`.

    Raises:
        [`InputError`]: for anything that keeps the push from its end.
    """
    sharing = sharing or HubArguments()
    run = SharedRun(Path(folder))
    files = files_to_push(run, adapter_only=adapter_only)  # before anything is asked of the Hub
    name = name or default_name(run.path)
    told = {field.name: getattr(sharing, field.name) for field in fields(HubArguments)}
    flags = [f"--{field} {value}" for field, value in told.items() if value != getattr(HubArguments, field)]
    flags += ["--adapter_only"] * adapter_only
    words = ["python", "recipes/push_to_hub.py", str(folder), "--hub_model_id", name, *" ".join(flags).split()]
    again = again or shlex.join(words)
    api = HfApi()
    with told_in_one_line(name, again):
        repo_id = name if claimed else claim_repository(name, sharing, run)
    files |= described(run, repo_id, sharing, hub_encoder(run) if adapter_only else None)
    operations = [CommitOperationAdd(path, content) for path, content in sorted(files.items())]
    with told_in_one_line(name, again):
        api.create_commit(repo_id, operations, commit_message=message)
    logger.info("the model is at %s/%s", api.endpoint, repo_id)
    return repo_id


def claim_repository(name: str, sharing: HubArguments, run: SharedRun | None = None) -> str:
    """
    Makes a repository, or finds one that is empty or holds this very model.

    Args:
        name (`str`):
            As for [`push_folder`].
        sharing ([`HubArguments`]):
            Says who sees it, and whether it may hold another model.
        run ([`SharedRun`], *optional*):
            What is to be pushed; without it, as before training, there must be nothing yet.

    Returns:
        `str`: the repository's id, `"owner/name"`.

    Raises:
        [`InputError`]: if it holds another model; what the Hub's client raises passes.
    """
    api = HfApi()
    repo_id = api.create_repo(name, private=sharing.hub_private_repo, exist_ok=True).repo_id
    there = {entry.path: entry for entry in api.list_repo_tree(repo_id, recursive=True)}
    is_retry = run is not None and any(
        path.endswith(".safetensors")
        and (run.path / path).is_file()
        and entry.lfs is not None
        and entry.lfs.sha256 == _sha256(run.path / path)
        for path, entry in there.items()
    )
    if there.keys() - NEW_REPOSITORY and not sharing.hub_update and not is_retry:
        raise InputError(
            f"`hub_model_id` must be new, {repo_id} holds another model: choose another name, or --hub_update true to "
            "add a new version to it."
        )
    return repo_id


def add_to_collection(title: str, repo_ids: Sequence[str], *, private: bool = False, again: str | None = None) -> str:
    """
    Puts models into a collection of the first one's owner, made where there is none of that title; gives its address.

    Args:
        title (`str`):
            The collection's.
        repo_ids (`Sequence[str]`):
            The models, at least one.
        private (`bool`, defaults to `False`):
            Whether only the owner sees it, where it is made anew.
        again (`str`, *optional*):
            The command that a failure tells to try again.
    """
    api = HfApi()
    with told_in_one_line(title, again):
        owner = repo_ids[0].split("/")[0]
        collection = api.create_collection(title, namespace=owner, private=private, exists_ok=True)
        for repo_id in repo_ids:
            api.add_collection_item(collection.slug, repo_id, "model", exists_ok=True)
    logger.info("the collection is at %s", collection.url)
    return collection.url


@contextmanager
def told_in_one_line(name: str, again: str | None = None) -> Iterator[None]:
    """Turns what the Hub's client raises into an [`InputError`] that says what to do; no token stands in it."""
    try:
        yield
        return
    except InputError:
        raise
    except HFValidationError as error:
        reason = f"`hub_model_id` must be 'name' or 'owner/name', got {name!r}: {_line(error)}"
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else error  # of one of several uploads
        if not isinstance(cause, (HTTPError, OSError, ValueError)):
            raise
        kept = "" if again is None else f" The folder has everything still; to try again: {again}"
        reason = _reason(cause, name) + kept
    for bar in list(tqdm._instances):  # those of the uploads: they would write behind our line when they end
        bar.close()
    raise InputError(reason)


def _reason(error: Exception, name: str) -> str:
    told = _line(error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and (found := re.search(r"\b(401|403|500|502|503|504)\b", told)):
        status = int(found[1])  # the transfer of large files raises errors without a response
    if status == 401 and get_token() is None:
        return f"the Hub needs a token to push {name!r}: `hf auth login`, or HF_TOKEN."
    if status == 401:
        return f"the Hub does not take the token (401) for {name!r}: `hf auth login`, or another HF_TOKEN."
    if status == 403:
        return f"the token must have the right to write to {name!r}, the Hub refused it (403): {told}."
    if status is not None:
        return f"the Hub failed on {name!r} with status {status}: {told}."
    if isinstance(error, ValueError):
        return f"the Hub does not take {name!r}: {told}."
    return f"the connection to the Hub broke off on {name!r}: {told}."


def _line(error: Exception) -> str:
    """Gives what an error says as one line of 200 characters, without the token."""
    told = " ".join(str(getattr(error, "server_message", None) or error).split()) or type(error).__name__
    token = get_token()
    return (told.replace(token, "...") if token else told)[:200].rstrip(".")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()

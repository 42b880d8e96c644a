"""Which files in the folder of a run this package wrote: those in the manifest, and those of earlier versions."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extrabert_hf.errors import InputError
from extrabert_hf.folder_lock import hold_folder
from extrabert_hf.manifest import is_own, manifest_names, record
from extrabert_hf.runs.folder import CHECKPOINT, RunFolder

MODEL_FILES = (
    r"(generation_)?config\.json|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|training_args\.bin|"
    r"adapter_config\.json|adapter_model\.safetensors|\w+_extrabert\.py|tokenizer(_config)?\.json|"
    r"special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)|merges\.txt|chat_template\.jinja|"
    r"(spiece|spm|sentencepiece\.bpe|tokenizer)\.model"
)
"""Names of the files of a saved model and its tokenizer."""

_RUN = RunFolder(Path())
RESULT_FILES = (
    *(_RUN.metrics_file, _RUN.report_file, _RUN.audit_file, _RUN.rejected_rows_file, _RUN.trainer_state_file),
    *(_RUN.conflicts_file, _RUN.train_rows_file, _RUN.flags_file, _RUN.words_file, _RUN.card_file),
)
RUN_FILES = "|".join([MODEL_FILES, *(re.escape(path.name) for path in RESULT_FILES)])
"""Names of the files that a run writes to its folder itself."""

STATE_FILES = r"(optimizer|scheduler|scaler)\.pt|rng_state(_\d+)?\.pth|README\.md|" + "|".join(
    map(re.escape, (RunFolder.TRAINER_STATE, RunFolder.RUN_RECORD, RunFolder.LOSS_WEIGHTING, RunFolder.COMPLETE))
)
FOLDERS = {
    f"{_RUN.predictions}|{_RUN.scored}|{_RUN.splits}": r"[^/]+-(train|dev|test)\.csv",
    f"{_RUN.rows}": r"(train|dev|test)\.jsonl",
    f"{_RUN.figures}": r"(training|gradient_conflicts|[^/]+-(train|dev|test))\.png",
    f"{_RUN.report_file.stem}_figures": r"[^/]+\.(png|svg)",
    f"{_RUN.adapter}": MODEL_FILES,
    f"{_RUN.best}/[^/]+": f"{MODEL_FILES}|{re.escape(_RUN.best_score_file('').name)}",
    CHECKPOINT: f"{MODEL_FILES}|{STATE_FILES}",
}
"""By the name of a folder in a run's folder, the names of the files that a run writes to it."""

LAYOUT = re.compile("|".join([RUN_FILES, *(f"({folder})/({files})" for folder, files in FOLDERS.items())]))
"""Matches the path, relative to a run's folder, of each file that a run may write."""


@contextmanager
def hold_run(argument: str, folder: Path) -> Iterator[None]:
    """
    Locks the folder of a run and records what is written to it, see [`hold_folder`].

    A run of a version without a manifest is recognised by its metrics or its checkpoints. Its files with the names of
    the layout are recorded.
    """
    with hold_folder(argument, folder):
        run = RunFolder(folder)
        names = manifest_names(folder)
        if (RunFolder.METRICS not in names and _has_own_metrics(run)) or any(
            not any(name.startswith(f"{path.name}/") for name in names)
            and (path / RunFolder.COMPLETE).is_file()
            and (path / RunFolder.TRAINER_STATE).is_file()
            for path in run.checkpoints
        ):
            record(folder, layout_files(folder))
        yield


def check_room(argument: str, folder: Path) -> None:
    """Raises [`InputError`] if a new run would replace or remove a file in the folder that no run has written."""
    checkpoints = [path for checkpoint in RunFolder(folder).checkpoints for path in checkpoint.rglob("*")]
    foreign = [path for path in (folder / name for name in layout_files(folder)) if not is_own(path)]
    foreign += [path for path in checkpoints if path.is_file() and path not in foreign and not is_own(path)]
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        names = ", ".join(path.relative_to(folder).as_posix() for path in sorted(foreign)[:3])
        raise InputError(
            f"`{argument}` {folder} holds {names}{more}, which no run has written and a run would replace: choose "
            f"another --{argument}, or move the files."
        )


def layout_files(folder: Path) -> list[str]:
    """
    Returns the files in a folder that have the name of a file of a run, as relative paths.

    A README.md that the user wrote is none of them: a run leaves it as it is.
    """
    folders = [folder, *folder.glob("best/*"), *(path for path in folder.glob("*") if path.name != "best")]
    paths = [path for each in folders if each.is_dir() for path in each.iterdir() if not path.is_dir()]
    names = dict.fromkeys(path.relative_to(folder).as_posix() for path in paths)
    if not RunFolder(folder).has_own_card:
        names.pop(_RUN.card_file.name, None)
    return [name for name in names if LAYOUT.fullmatch(name)]


def _has_own_metrics(run: RunFolder) -> bool:
    try:
        return run.is_finished and bool(run.read_metrics().tasks)
    except InputError:
        return False

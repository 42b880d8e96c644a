"""Which column of a file holds what: the columns a task names, else the well-known names."""

from collections.abc import Sequence
from dataclasses import dataclass

from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec

WELL_KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "sentence1": ("sentence1", "sentence", "sentence_1", "question1", "text", "text1", "text_a", "premise", "review"),
    "sentence2": ("sentence2", "sentence_2", "question2", "text2", "text_b", "hypothesis"),
    "label": ("label", "labels", "sentiment", "is_duplicate", "similarity", "similarity_score", "score", "rating"),
    "id": ("id", "idx", "guid", "pair_id", "pairid"),
}
"""What GLUE, SentEval, the CS224N course and the Hub's pair data sets say; the first one present is taken."""


@dataclass(frozen=True)
class Columns:
    """
    The names under which a file holds the canonical columns.

    Args:
        sentence1 (`str`):
            Column of the sentence, or of a pair's first sentence.
        sentence2 (`str`, *optional*):
            Column of a pair's second sentence; `None` for a task on one sentence.
        label (`str`, *optional*):
            Column of the label; `None` where there is none.
        id (`str`, *optional*):
            Column of the row's id; `None` where rows are known by their number.
    """

    sentence1: str
    sentence2: str | None = None
    label: str | None = None
    id: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{role} = {name!r}" for role, name in vars(self).items() if name is not None)


def find_columns(present: Sequence[str], task: TaskSpec, source: str, *, label_required: bool = True) -> Columns:
    """
    Finds a task's columns among those of a file.

    A column the task names must be there, spelt the same. Otherwise the first of `WELL_KNOWN_NAMES` that is there is
    taken, upper and lower case alike. Only the label, where it is not required, and the id may be missing.

    Args:
        present (`Sequence[str]`):
            The file's column names; unnamed ones (`""`) are passed over.
        task (`TaskSpec`):
            The task whose `sentence1_column`, `sentence2_column`, `label_column` and `id_column` are looked for.
        source (`str`):
            What an error calls the file.
        label_required (`bool`, *optional*, defaults to `True`):
            Whether a missing label column is an error.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> print(find_columns(["", "id", "question1", "question2", "Label"], PAPER_TASKS["para"], "rows.csv"))
        sentence1 = 'question1', sentence2 = 'question2', label = 'Label', id = 'id'
    """
    columns = Columns(
        sentence1=_find("sentence1", task.sentence1_column, present, source),
        sentence2=_find("sentence2", task.sentence2_column, present, source) if task.is_pair else None,
        label=_find("label", task.label_column, present, source, required=label_required),
        id=_find("id", task.id_column, present, source, required=task.id_column is not None),
    )
    taken: dict[str, str] = {}
    for role, name in vars(columns).items():
        if name in taken:
            flags = f"`--{taken[name]}_column` and `--{role}_column`"
            raise InputError(f"{flags} must name two different columns of {source}, got {name!r} for both.")
        if name is not None:
            taken[name] = role
    return columns


def _find(role: str, named: str | None, present: Sequence[str], source: str, required: bool = True) -> str | None:
    there = ", ".join(repr(name[:40]) for name in present if name)
    if named is not None:
        if named in present:
            return named
        if required:
            raise InputError(f"`--{role}_column` must name a column of {source} ({there}), got {named!r}.")
        return None
    by_folded_name = {name.casefold(): name for name in reversed(present)}
    for candidate in WELL_KNOWN_NAMES[role]:
        if candidate in by_folded_name:
            return by_folded_name[candidate]
    if required:
        candidates = ", ".join(WELL_KNOWN_NAMES[role])
        raise InputError(
            f"{source} has no column for `{role}`: looked for {candidates}; there are {there}. "
            f"Name the column with `--{role}_column`."
        )
    return None

"""The rows of the paper's Table 1: the training of each row, and the scores in the paper."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PaperRow:
    """
    One row of Table 1 of ExTraBERT.

    Args:
        name (`str`):
            Short name, used for files and folders.
        label (`str`):
            Name in the paper.
        training (`str`):
            `"multitask"` for one model of all tasks, `"separate"` for a model of each task.
        tasks (`tuple[str, ...]`):
            The trained tasks, keys of `PAPER_TASKS`. All three tasks are scored.
        scores (`dict[str, float]`):
            The paper's dev scores by task: accuracy, accuracy, Pearson r.
        against (`str`, *optional*):
            Name of the row from which this row differs in one setting; `None` for the first row.
    """

    name: str
    label: str
    training: Literal["multitask", "separate"]
    tasks: tuple[str, ...]
    scores: dict[str, float]
    against: str | None


def _row(
    name: str,
    label: str,
    training: Literal["multitask", "separate"],
    sst: float,
    para: float,
    sts: float,
    against: str | None,
    tasks: tuple[str, ...] = ("sst", "para", "sts"),
) -> PaperRow:
    return PaperRow(name, label, training, tasks, {"sst": sst, "para": para, "sts": sts}, against)


TABLE1: dict[str, PaperRow] = {
    row.name: row
    for row in (
        _row("baseline", "Baseline", "multitask", 0.309, 0.380, -0.103, against=None, tasks=("sst",)),
        _row("rr", "RR", "multitask", 0.482, 0.686, 0.380, against="baseline"),
        _row("rr_cs", "RR + CS", "multitask", 0.484, 0.686, 0.625, against="rr"),
        _row("rr_cs_gs", "RR + CS + GS", "multitask", 0.491, 0.742, 0.687, against="rr_cs"),
        _row("sft", "SFT", "separate", 0.522, 0.783, 0.385, against="rr"),  # the heads of "rr", trained separately
        _row("sft_cs", "SFT + CS", "separate", 0.514, 0.785, 0.641, against="sft"),
        _row("sft_dpa_cs", "SFT + DPA + CS", "separate", 0.519, 0.860, 0.851, against="sft_cs"),
        _row("sft_ma_cs", "SFT + MA + CS", "separate", 0.526, 0.880, 0.873, against="sft_dpa_cs"),
    )
}
"""Table 1 of the paper, in its order: RR round robin, CS cosine similarity, GS gradient surgery, SFT separate
fine-tuning, DPA dot-product attention, MA multiplicative attention."""

TABLE2: dict[str, float] = {"sst": 0.532, "para": 0.880, "sts": 0.865}
"""Table 2 of the paper: test scores of SFT + MA + CS."""

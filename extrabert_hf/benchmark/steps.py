"""The steps from a plain trainer to ours, one at a time."""

from typing import Any

from extrabert_hf.tasks import TaskSpec

WITHOUT: dict[str, dict[str, Any]] = {
    "one forward of both sentences": {"two_forwards": True},
    "length buckets": {"length_buckets": False},
    "no padding": {"padding_free": False},
    "bfloat16 autocast": {"bf16": False},
    "fused AdamW": {"optim": "adamw_torch"},
}
"""What each step brings -> what [`our_trainer`] is told to do without it."""


def ladder(task: TaskSpec, bf16: bool) -> dict[str, dict[str, Any]]:
    """
    Lays out the steps, each with those before it; the first is plain, the last is ours as shipped.

    Args:
        task ([`TaskSpec`]):
            One forward of both sentences is a step for pairs only.
        bf16 (`bool`):
            Whether ours trains under bfloat16 autocast on this machine; if not it is no step.

    Returns:
        `dict[str, dict]`: the keyword arguments of [`our_trainer`] by step.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> for step, fields in ladder(PAPER_TASKS["sst"], bf16=False).items():
        ...     print(step, fields)
        plain {'length_buckets': False, 'padding_free': False, 'optim': 'adamw_torch'}
        + length buckets {'padding_free': False, 'optim': 'adamw_torch'}
        + no padding {'optim': 'adamw_torch'}
        + fused AdamW {}
    """
    taken = {"one forward of both sentences": task.is_pair, "bfloat16 autocast": bf16}
    steps = [step for step in WITHOUT if taken.get(step, True)]
    rungs = {}
    for index, name in enumerate(["plain", *(f"+ {step}" for step in steps)]):
        rungs[name] = {field: value for step in steps[index:] for field, value in WITHOUT[step].items()}
    return rungs

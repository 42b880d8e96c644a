"""Predictions in the form that the CS224N graders read."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from extrabert_hf.tasks import TaskSpec


def write_submission(path: Path, task: TaskSpec, ids: Iterable[str], predictions: np.ndarray) -> None:
    """
    Writes one line a row, `id , prediction`, under the course's header.

    Args:
        path (`Path`):
            File to write; its folder is made.
        task ([`TaskSpec`]):
            Its `course_header` names the second column.
        ids (`Iterable[str]`):
            The rows' ids.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids or scores.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"id \t {task.course_header} \n")
        file.writelines(f"{row_id} , {value} \n" for row_id, value in zip(ids, predictions.tolist(), strict=True))

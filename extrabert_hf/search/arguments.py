"""What a search can be told; each field's `help` is its one description."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

TASKS = (*PAPER_TASKS, "multitask")
PRUNERS = ("median", "hyperband", "none")
OWN_ARGUMENTS = ("resume_from_checkpoint", "overwrite_output_dir", "push_to_hub")
"""What each trial is told by the search."""


@dataclass
class SearchArguments:
    """Which runs are tried; every other flag goes to each of them."""

    _argument_group_name: ClassVar[str] = "search"

    task: str = field(default="sst", metadata={"help": "'sst', 'para', 'sts', or 'multitask': which training recipe."})
    space: str | None = field(
        default=None,
        metadata={"help": "What may be tried, a sweep file of Weights & Biases; by default the paper's."},
    )
    n_trials: int | None = field(
        default=None, metadata={"help": "Trials of the whole study, by default the space's `run_cap`, else 20."}
    )
    workers: int = field(default=1, metadata={"help": "Trials at a time on this machine, each a process of its own."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the search, by default runs/search/TASK."}
    )
    storage: str | None = field(
        default=None,
        metadata={
            "help": "Where the study is kept, by default sqlite:///OUTPUT_DIR/study.db; several machines share it."
        },
    )
    study_name: str | None = field(default=None, metadata={"help": "Name in the storage, by default the task's."})
    pruner: str = field(
        default="median",
        metadata={
            "help": "What stops a trial early: 'median' (worse than half of the others then), 'hyperband', 'none'."
        },
    )
    search_seed: int = field(default=0, metadata={"help": "Seed of what is tried; `seed` is that of the runs."})
    heartbeat: int = field(
        default=20, metadata={"help": "Seconds; a trial silent for three times as many is begun again."}
    )

    def __post_init__(self) -> None:
        for name, allowed in (("task", TASKS), ("pruner", PRUNERS)):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"`{name}` must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}."
                )
        for name in ("n_trials", "workers", "heartbeat"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"`{name}` must be 1 or more, got {getattr(self, name)}.")
        if self.search_seed < 0:
            raise InputError(f"`search_seed` must be 0 or more, got {self.search_seed}.")

    @property
    def folder(self) -> Path:
        """Where all of it is left."""
        return Path(self.output_dir or f"runs/search/{self.task}")

    def folder_of_trial(self, plan: int) -> Path:
        """Where the run of a plan is left."""
        return self.folder / "trials" / f"{plan:03d}"

    @property
    def storage_url(self) -> str:
        """As SQLAlchemy has it."""
        return self.storage or f"sqlite:///{self.folder.resolve() / 'study.db'}"

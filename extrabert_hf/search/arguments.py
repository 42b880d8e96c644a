"""The arguments of a search."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from sqlalchemy.engine import URL

from extrabert_hf.errors import InputError
from extrabert_hf.tasks import RUN_TASKS

PRUNERS = ("median", "hyperband", "none")
DATABASE = "study.db"
"""Name of the default storage of a study in the folder of the search."""
OWN_ARGUMENTS = ("resume_from_checkpoint", "overwrite_output_dir", "push_to_hub")
"""Arguments of a run that the search sets for each trial, so that a user cannot set them."""


@dataclass
class SearchArguments:
    """The study and its trials. All other flags are passed to the run of each trial."""

    _argument_group_name: ClassVar[str] = "search"

    task: str = field(default="sst", metadata={"help": "What is trained: 'sst', 'para', 'sts', or 'multitask'."})
    space: str = field(
        default="search/paper",
        metadata={
            "help": "The search space: a sweep file of Weights & Biases, or a name that `extrabert configs` lists."
        },
    )
    n_trials: int | None = field(
        default=None,
        metadata={"help": "Number of trials of the whole study. The default is `run_cap` of the search space, or 20."},
    )
    workers: int = field(default=1, metadata={"help": "Number of trials that run in parallel on this machine."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the search. The default is runs/search/TASK."}
    )
    storage: str | None = field(
        default=None,
        metadata={
            "help": "Database of the study, which several machines can share. The default is "
            "sqlite:///OUTPUT_DIR/study.db. Set a URL with a password as the environment variable EXTRABERT_STORAGE."
        },
    )
    study_name: str | None = field(
        default=None, metadata={"help": "Name of the study in the storage. The default is the task."}
    )
    pruner: str = field(
        default="median",
        metadata={
            "help": "Pruner that stops bad trials early: 'median' (stops a trial whose score is below the median of "
            "the other trials at the same evaluation), 'hyperband' or 'none'."
        },
    )
    search_seed: int = field(
        default=0, metadata={"help": "Seed for drawing the values of the trials; --seed is the seed of the runs."}
    )
    heartbeat: int = field(
        default=20,
        metadata={"help": "Seconds between heartbeats. A trial that misses three heartbeats is restarted."},
    )

    def __post_init__(self) -> None:
        for name, allowed in (("task", RUN_TASKS), ("pruner", PRUNERS)):
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
        """The folder of the search."""
        return Path(self.output_dir or f"runs/search/{self.task}")

    def folder_of_trial(self, plan: int) -> Path:
        """Returns the output folder of the run of a plan."""
        return self.folder / "trials" / f"{plan:03d}"

    @property
    def storage_url(self) -> str:
        """The URL of the database, for SQLAlchemy."""
        if storage := self.storage or os.environ.get("EXTRABERT_STORAGE"):
            return storage
        name = f"file:{quote(str(self.folder.resolve() / DATABASE))}"  # SQLite decodes it: a folder may have a "?"
        return URL.create("sqlite", database=name, query={"uri": "true"}).render_as_string()

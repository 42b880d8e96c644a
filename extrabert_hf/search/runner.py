"""Runs a search on this machine: starts a process for each trial until all plans of the study are done."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from extrabert_hf.errors import InputError
from extrabert_hf.files import recorded
from extrabert_hf.folder_lock import hold_folder
from extrabert_hf.machine import end_workers, start_worker
from extrabert_hf.manifest import check_own, is_own, record
from extrabert_hf.search.arguments import DATABASE, OWN_ARGUMENTS, SearchArguments
from extrabert_hf.search.results import RESULTS, write_results
from extrabert_hf.search.space import SearchSpace, flags_of, read_space
from extrabert_hf.search.study import (
    PROCESS,
    TRIES,
    Plan,
    error_of,
    finished_trials,
    open_study,
    plan_trials,
    renew_lost,
    state_of,
    trials_of_plans,
)
from extrabert_hf.search.trial import parse_trial
from extrabert_hf.terminal import progress_bar
from extrabert_hf.training.command_line import yaml_of_flags
from extrabert_hf.training.setup import choose_precision
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

logger = logging.getLogger(__name__)

DEFAULT_TRIALS = 20
SEARCHED, BF16 = "searched", "bf16"
"""Attributes of a study: the search that it was created for, and whether all trials train in bfloat16."""
PAUSE = 1.0
"""Seconds between two reads of the study."""


def run_search(arguments: SearchArguments, flags: Sequence[str], argv: Sequence[str]) -> list[str]:
    """
    Starts or continues a study until all its plans are done, by this call or by calls on other machines.

    Args:
        arguments ([`SearchArguments`]):
            The arguments of the search.
        flags (`Sequence[str]`):
            The flags of every run.
        argv (`Sequence[str]`):
            The words of the command line, for the processes of the trials.

    Returns:
        `list[str]`: the results as lines of text.

    Raises:
        [`InputError`]: for an invalid space or flag, a study of another search, or a trial that fails before any trial
        has a score.
    """
    is_shared = arguments.storage is not None  # searches on several machines may share the folder, too
    folder = arguments.folder
    with recorded(folder, "output_dir") if is_shared else hold_folder("output_dir", folder):
        check_results(arguments.folder)
        return _run_search(arguments, flags, argv)


def check_results(folder: Path) -> None:
    """Raises [`InputError`] for a file of the user that the results of a search would replace."""
    if (folder / DATABASE).exists() and not is_own(folder / DATABASE):  # a study of a version without a manifest
        record(folder, [DATABASE, *(name for name in RESULTS if (folder / name).exists())])
    for name in RESULTS:
        check_own("output_dir", folder / name)


def _run_search(arguments: SearchArguments, flags: Sequence[str], argv: Sequence[str]) -> list[str]:
    space = read_space(arguments.space)
    training = check_flags(arguments, flags, space)
    study = open_study(arguments, maximize=bool(training.greater_is_better))
    if arguments.storage is None:
        record(arguments.folder, [DATABASE])
    check_same_search(study, arguments, flags, space)
    if BF16 not in study.user_attrs:  # decided once: all trials of the study train in one precision
        bf16, reason = choose_precision(training)
        study.set_user_attr(BF16, bf16)
        logger.info("bfloat16 for all trials: %s (%s)", str(bf16).lower(), reason)
    argv = [*argv, f"--bf16={study.user_attrs[BF16]}"]
    n_trials = count_trials(study, arguments, space)
    plan_trials(study, n_trials)
    aim = f"{'most' if training.greater_is_better else 'least'} {training.metric_for_best_model}"
    logger.info("%s trials of %s, for the %s on dev", n_trials, study.study_name, aim)
    log = TrialLog(n_trials, len(finished_trials(study)))
    workers: list[subprocess.Popen | None] = [None] * arguments.workers
    deaths = 0
    bar = progress_bar(n_trials, desc="search", units="trials", disable=not sys.stderr.isatty())  # beside the log
    try:
        while True:
            renew_lost(study)
            if log.log_finished(study):
                deaths = 0
            bar.n = log.count
            bar.refresh()
            for slot, process in enumerate(workers):
                if process is not None and process.poll() is not None:
                    workers[slot] = None
                    deaths += process.returncode != 0
            if deaths > TRIES * arguments.workers:
                raise InputError(f"{deaths} processes of trials died one after the other: see the messages above.")
            plans = trials_of_plans(study).values()
            if not any(workers) and all(state_of(trials) is Plan.DONE for trials in plans):
                return write_results(study, arguments, flags, space)
            start_where_needed(workers, list(plans), argv)
            time.sleep(PAUSE)
    finally:
        bar.close()
        end_workers([process for process in workers if process is not None])


def count_trials(study: Study, arguments: SearchArguments, space: SearchSpace) -> int:
    """Returns the number of trials of the study; the number never decreases."""
    planned = len(trials_of_plans(study))
    if arguments.n_trials is not None and arguments.n_trials < planned:
        raise InputError(
            f"`n_trials` must be {planned} or more, the number of trials in the study, got {arguments.n_trials}."
        )
    return max(planned, arguments.n_trials or space.run_cap or DEFAULT_TRIALS)


def start_where_needed(
    workers: list[subprocess.Popen | None], plans: list[list[FrozenTrial]], argv: Sequence[str]
) -> None:
    """Starts a process in a free slot if there are more waiting plans than idle processes."""
    waiting = sum(state_of(trials) is Plan.WAITING for trials in plans)
    busy = {trial.user_attrs.get(PROCESS) for trials in plans for trial in trials if trial.state == TrialState.RUNNING}
    idle = sum(process is not None and process.pid not in busy for process in workers)
    if None in workers and idle < waiting:
        slot = workers.index(None)
        workers[slot] = start_worker(["extrabert_hf.search.trial", *argv], slot, len(workers))


def check_flags(arguments: SearchArguments, flags: Sequence[str], space: SearchSpace) -> ExtraBertTrainingArguments:
    """Raises [`InputError`] for flags that no trial can run with; returns the training arguments of one trial."""
    if parse_trial(arguments, flags).dry_run:
        raise InputError("`dry_run` is not for a search: `extrabert train` prints the plan of one run.")
    try:
        trainings = [parse_trial(arguments, [*flags, *flags_of(tried)]).training for tried in space.corners()]
    except InputError as error:
        raise InputError(f"`space` {arguments.space}: {error}") from error
    training = trainings[-1]
    for name in OWN_ARGUMENTS:
        if any(getattr(arguments_of_run, name) for arguments_of_run in trainings):
            raise InputError(f"`{name}` can't be set for the runs of a search: the search sets `{name}` for each run.")
    if training.eval_strategy == "no":
        raise InputError("`eval_strategy` must be 'epoch' or 'steps' in a search, which needs scores, got 'no'.")
    for tried in trainings:
        if tried.load_best_model_at_end and tried.eval_strategy == "steps" and tried.eval_steps != tried.save_steps:
            steps = f"got {tried.save_steps:g} and {tried.eval_steps:g}"
            raise InputError(f"`save_steps` must be `eval_steps` in a search, which keeps the best step, {steps}.")
    return training


def check_same_search(study: Study, arguments: SearchArguments, flags: Sequence[str], space: SearchSpace) -> None:
    """Records the search in a new study; raises [`InputError`] for a study of another search."""
    searched = {
        "task": arguments.task,
        "search_seed": arguments.search_seed,
        "method": space.method,
        "fixed": space.fixed,
        "parameters": {name: str(distribution) for name, distribution in space.distributions.items()},
        **{
            f"{block}.{name}": value
            for block, entries in yaml_of_flags(flags, multitask=arguments.task == "multitask").items()
            for name, value in entries.items()
        },
    }
    searched = json.loads(json.dumps(searched))  # the form in which the storage returns it
    before = study.user_attrs.get(SEARCHED)
    if before is None:
        study.set_user_attr(SEARCHED, searched)
    elif before != searched:
        name = min(key for key in before | searched if before.get(key) != searched.get(key))
        earlier, now = (values.get(name, "the default") for values in (before, searched))
        raise InputError(
            f"the study {study.study_name!r} was started with {name} {earlier}, now {now}: use another --output_dir."
        )


class TrialLog:
    """
    Logs one line for each finished trial.

    Args:
        n_trials (`int`):
            Number of trials of the study.
        before (`int`):
            Number of trials that were finished before this call.
    """

    def __init__(self, n_trials: int, before: int) -> None:
        self.n_trials, self.count = n_trials, before

    def log_finished(self, study: Study) -> bool:
        """Logs new finished trials; returns whether any exist. A failure before any score raises [`InputError`]."""
        finished = sorted(finished_trials(study), key=lambda trial: trial.datetime_complete)
        new = finished[self.count :]
        for number, trial in enumerate(new, start=self.count + 1):
            params = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
            score = f"{trial.value:.4f}" if trial.state == TrialState.COMPLETE else trial.state.name.lower()
            score = error_of(trial) or score
            logger.info("%s of %s: %s (%s)", number, self.n_trials, score, params)
        if new and all(error_of(trial) for trial in finished):
            raise InputError(f"the first trial failed: {error_of(new[0])}")
        self.count = len(finished)
        return bool(new)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

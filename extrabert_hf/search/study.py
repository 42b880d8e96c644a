"""The study: a list of plans. Any process can start a trial of a plan; the plan is done when a trial ends."""

import warnings
from enum import Enum

import optuna
from optuna import Study
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from extrabert_hf.errors import InputError, need_folder, one_line
from extrabert_hf.search.arguments import SearchArguments

PLAN, ERROR, PROCESS, DOUBLE, INTERRUPTED = "plan", "error", "process", "double", "interrupted"
"""Attributes of a trial: its plan, its error, its process id, whether another trial took the same plan first, and
whether the user interrupted it."""

TRIES = 3
"""Number of trials of a plan that may be killed before the plan counts as failed."""

PRUNER_CLASSES = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4),
    "hyperband": optuna.pruners.HyperbandPruner,
    "none": optuna.pruners.NopPruner,
}


class Plan(Enum):
    """State of a plan. `LOST` means that the trial of the plan was killed."""

    WAITING = "waiting"
    RUNNING = "running"
    LOST = "lost"
    DONE = "done"


def open_study(arguments: SearchArguments, *, maximize: bool = True) -> Study:
    """
    Opens the study, or creates it.

    Args:
        arguments ([`SearchArguments`]):
            The storage and the name of the study.
        maximize (`bool`, defaults to `True`):
            Whether a larger score is better. An existing study keeps its direction.

    Raises:
        [`InputError`]: if the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    need_folder("output_dir", arguments.folder)
    url = arguments.storage_url
    waits = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    beat = arguments.heartbeat
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # for heartbeats
            storage = RDBStorage(url, engine_kwargs=waits, heartbeat_interval=beat, grace_period=3 * beat)
    except (OSError, ImportError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise InputError(f"`storage` can't be opened, {url}: {one_line(error)}") from error
    return optuna.create_study(
        study_name=arguments.study_name or arguments.task,
        storage=storage,
        load_if_exists=True,
        direction="maximize" if maximize else "minimize",
        pruner=PRUNER_CLASSES[arguments.pruner](),
    )


def plan_trials(study: Study, n_trials: int) -> None:
    """
    Queues plans until the study has `n_trials` plans. The values of a plan are drawn when its trial starts.

    While no trial has a score, failed plans are queued again: the user may have corrected the cause.
    """
    trials = trials_of_plans(study)
    scored = any(trial.state == TrialState.COMPLETE for earlier in trials.values() for trial in earlier)
    for plan in range(n_trials):
        earlier = trials.get(plan, [])
        failed = bool(earlier) and state_of(earlier) is Plan.DONE and earlier[-1].state == TrialState.FAIL
        if not earlier or (failed and not scored):
            queue(study, plan, earlier)


def renew_lost(study: Study) -> None:
    """Queues plans again after a killed trial: one without a heartbeat, or one that ended without a score."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for plan, trials in trials_of_plans(study).items():
        if state_of(trials) is Plan.LOST:
            queue(study, plan, trials)


def queue(study: Study, plan: int, before: list[FrozenTrial]) -> None:
    """Appends a plan to the queue, with the values that an earlier trial of the plan drew."""
    drawn = [trial.params for trial in before if trial.params]  # a trial may be killed before it draws
    study.enqueue_trial(drawn[-1] if drawn else {}, user_attrs={PLAN: plan})


def trials_of_plans(study: Study) -> dict[int, list[FrozenTrial]]:
    """Returns the trials of each plan in order, without trials whose plan another process had taken."""
    plans: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if PLAN in trial.user_attrs and DOUBLE not in trial.user_attrs:
            plans.setdefault(trial.user_attrs[PLAN], []).append(trial)
    return plans


def state_of(trials: list[FrozenTrial]) -> Plan:
    """Returns the state of a plan with these trials."""
    for trial in trials:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            return Plan.DONE
    for state, plan in ((TrialState.RUNNING, Plan.RUNNING), (TrialState.WAITING, Plan.WAITING)):
        if any(trial.state == state for trial in trials):
            return plan
    killed = [trial for trial in trials if INTERRUPTED not in trial.user_attrs]
    return Plan.DONE if ERROR in trials[-1].user_attrs or len(killed) >= TRIES else Plan.LOST


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Returns one trial of each finished plan, in order: the complete or pruned trial, or the last that failed."""
    finished = []
    for _, trials in sorted(trials_of_plans(study).items()):
        if state_of(trials) is Plan.DONE:
            ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
            finished.append((ended or trials[-1:])[0])
    return finished


def error_of(trial: FrozenTrial) -> str:
    """Returns the error of a failed trial; an empty string for other trials."""
    return trial.user_attrs.get(ERROR, f"killed {TRIES} times") if trial.state == TrialState.FAIL else ""

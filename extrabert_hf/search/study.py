"""The study: so many plans, each of them tried until it has an end, by whoever is there."""

import warnings
from enum import Enum

import optuna
from optuna import Study
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from extrabert_hf.errors import InputError, need_folder, one_line
from extrabert_hf.search.arguments import SearchArguments

PLAN, ERROR, PROCESS, DOUBLE = "plan", "error", "process", "double"
"""What a trial carries: its plan; how it failed; who runs it; whether another trial had its plan already."""

TRIES = 3
"""Trials of a plan that may be killed, or die, before it is given up."""

PRUNER_CLASSES = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4),
    "hyperband": optuna.pruners.HyperbandPruner,
    "none": optuna.pruners.NopPruner,
}


class Plan(Enum):
    """How far a plan is; lost is one whose trial was killed."""

    WAITING = "waiting"
    RUNNING = "running"
    LOST = "lost"
    DONE = "done"


def open_study(arguments: SearchArguments, *, maximize: bool = True) -> Study:
    """
    Opens the study, or makes it.

    Args:
        arguments ([`SearchArguments`]):
            Where it is kept, and under which name.
        maximize (`bool`, defaults to `True`):
            Whether more of the score is better; of use to a new one.

    Raises:
        [`InputError`]: if the storage can't be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    need_folder("output_dir", arguments.folder)
    url = arguments.storage_url
    waits = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    beat = arguments.heartbeat
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats, since release 2.5
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
    Queues what the study lacks of `n_trials` plans; what is tried is drawn when it begins.

    While no trial has a score, those that failed are queued again: what they failed of may have been mended.
    """
    trials = trials_of_plans(study)
    scored = any(trial.state == TrialState.COMPLETE for its in trials.values() for trial in its)
    for plan in range(n_trials):
        its = trials.get(plan, [])
        if not its or (not scored and state_of(its) is Plan.DONE and its[-1].state == TrialState.FAIL):
            queue(study, plan, its)


def renew_lost(study: Study) -> None:
    """Queues again the plans whose trial was killed: it was silent for too long, or ended without a score."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for plan, trials in trials_of_plans(study).items():
        if state_of(trials) is Plan.LOST:
            queue(study, plan, trials)


def queue(study: Study, plan: int, before: list[FrozenTrial]) -> None:
    """Puts a plan behind those that wait, with what an earlier trial of it has drawn."""
    drawn = [trial.params for trial in before if trial.params]  # one may have been killed before it drew
    study.enqueue_trial(drawn[-1] if drawn else {}, user_attrs={PLAN: plan})


def trials_of_plans(study: Study) -> dict[int, list[FrozenTrial]]:
    """Gives the trials of each plan in their order; one that another was quicker to take is none."""
    plans: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if PLAN in trial.user_attrs and DOUBLE not in trial.user_attrs:
            plans.setdefault(trial.user_attrs[PLAN], []).append(trial)
    return plans


def state_of(trials: list[FrozenTrial]) -> Plan:
    """Tells how far a plan is by its trials."""
    for trial in trials:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            return Plan.DONE
    for state, plan in ((TrialState.RUNNING, Plan.RUNNING), (TrialState.WAITING, Plan.WAITING)):
        if any(trial.state == state for trial in trials):
            return plan
    return Plan.DONE if ERROR in trials[-1].user_attrs or len(trials) >= TRIES else Plan.LOST


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Gives of each plan that is done, in their order, the trial that has a score, or was pruned, or failed last."""
    finished = []
    for _, trials in sorted(trials_of_plans(study).items()):
        if state_of(trials) is Plan.DONE:
            ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
            finished.append((ended or trials[-1:])[0])
    return finished


def error_of(trial: FrozenTrial) -> str:
    """Says how a trial failed, nothing if it did not."""
    return trial.user_attrs.get(ERROR, f"killed {TRIES} times") if trial.state == TrialState.FAIL else ""

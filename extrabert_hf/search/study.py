"""The study: so many plans, each of them tried until it has an end, by whoever is there."""

import warnings
from enum import Enum

import optuna
from optuna import Study
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from extrabert_hf.errors import InputError
from extrabert_hf.search.arguments import SearchArguments

PLAN, ERROR, SEARCHED = "plan", "error", "searched"
"""What a trial, and the study, carry beside their values."""

PRUNER_CLASSES = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    "hyperband": optuna.pruners.HyperbandPruner,
    "none": optuna.pruners.NopPruner,
}


class Plan(Enum):
    """How far a plan is."""

    WAITING = "waiting"
    RUNNING = "running"
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
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats, since release 2.5
            storage = RDBStorage(
                arguments.storage_url,
                engine_kwargs={"connect_args": {"timeout": 60}}
                if arguments.storage_url.startswith("sqlite")
                else None,
                heartbeat_interval=arguments.heartbeat,
                grace_period=3 * arguments.heartbeat,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True),
            )
    except (OSError, ImportError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise InputError(
            f"`storage` can't be opened, {arguments.storage_url}: {str(error).splitlines()[0]}"
        ) from error
    return optuna.create_study(
        study_name=arguments.study_name or arguments.task,
        storage=storage,
        load_if_exists=True,
        direction="maximize" if maximize else "minimize",
        pruner=PRUNER_CLASSES[arguments.pruner](),
    )


def renew_stale(study: Study) -> None:
    """Queues again the plans whose trial was silent for too long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def plan_trials(study: Study, n_trials: int) -> None:
    """Queues what the study lacks of `n_trials` plans; what is tried is drawn when it begins."""
    planned = {trial.user_attrs[PLAN] for trial in planned_trials(study)}
    for plan in range(n_trials):
        if plan not in planned:
            study.enqueue_trial({}, user_attrs={PLAN: plan})


def planned_trials(study: Study) -> list[FrozenTrial]:
    """Gives the trials of plans; one that a worker began as the last plan was taken by another is none."""
    return [trial for trial in study.get_trials(deepcopy=False) if PLAN in trial.user_attrs]


def states_of_plans(study: Study) -> dict[int, Plan]:
    """Tells how far each plan is: a trial that was killed is followed by another of the same plan."""
    states: dict[int, Plan] = {}
    for trial in planned_trials(study):
        plan = trial.user_attrs[PLAN]
        if is_done(trial):
            states[plan] = Plan.DONE
        elif states.get(plan) is not Plan.DONE:
            states[plan] = Plan.WAITING if trial.state == TrialState.WAITING else Plan.RUNNING
    return states


def is_done(trial: FrozenTrial) -> bool:
    """Whether a trial came to an end of its own, a score, a pruning or an error: it was not killed."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or ERROR in trial.user_attrs


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Gives one trial a plan that is done, in their order."""
    first = {}
    for trial in planned_trials(study):
        if is_done(trial):
            first.setdefault(trial.user_attrs[PLAN], trial)
    return [first[plan] for plan in sorted(first)]

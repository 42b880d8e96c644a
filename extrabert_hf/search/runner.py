"""A search on this machine: starts trials, each a process of its own, until all plans of the study are done."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from optuna import Study

from extrabert_hf.errors import InputError
from extrabert_hf.search.arguments import OWN_FLAGS, SearchArguments
from extrabert_hf.search.results import write_results
from extrabert_hf.search.space import SearchSpace, flags_of, read_space
from extrabert_hf.search.study import (
    ERROR,
    SEARCHED,
    Plan,
    finished_trials,
    open_study,
    plan_trials,
    renew_stale,
    states_of_plans,
)
from extrabert_hf.search.trial import parse_trial

logger = logging.getLogger(__name__)

DEFAULT_TRIALS = 20
PAUSE = 1.0
"""Seconds between two looks at the study."""


def run_search(arguments: SearchArguments, flags: Sequence[str], argv: Sequence[str]) -> list[str]:
    """
    Goes on with a study, or begins it, until each of its plans is done: by this call, or by others beside it.

    Args:
        arguments ([`SearchArguments`]):
            Which study.
        flags (`Sequence[str]`):
            Of every run.
        argv (`Sequence[str]`):
            The words of the call, which each trial's process reads again.

    Returns:
        `list[str]`: what was found, a line each.

    Raises:
        [`InputError`]: for a space or flags that can't be used, a study that was begun with others, or an error of a
        trial before any has a score.
    """
    space = read_space(arguments.space)
    n_trials = arguments.n_trials or space.run_cap or DEFAULT_TRIALS
    maximize = check_flags(arguments, flags, space)
    study = open_study(arguments, maximize=maximize)
    check_same_search(study, arguments, flags, space)
    plan_trials(study, n_trials)
    processes: list[subprocess.Popen] = []
    told = 0
    try:
        while True:
            renew_stale(study)
            told = tell_finished(study, told, n_trials)
            processes = [process for process in processes if process.poll() is None]
            states = list(states_of_plans(study).values())
            waiting = states.count(Plan.WAITING)
            if states.count(Plan.DONE) == len(states) and not processes:
                return write_results(study, arguments, flags, space)
            if len(processes) < min(arguments.workers, waiting):
                processes.append(start_trial(argv, arguments.workers))
            time.sleep(PAUSE)
    finally:
        for process in processes:
            process.terminate()


def start_trial(argv: Sequence[str], workers: int) -> subprocess.Popen:
    """Starts a process that takes the next trial; processes side by side share the processor's cores."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    words = [sys.executable, "-m", "extrabert_hf.search.trial", *argv]
    return subprocess.Popen(words, env={"OMP_NUM_THREADS": threads, **os.environ})


def check_flags(arguments: SearchArguments, flags: Sequence[str], space: SearchSpace) -> bool:
    """Refuses what no trial could be run with; tells whether more of the score is better."""
    for word in flags:
        if word.split("=")[0] in OWN_FLAGS:
            raise InputError(f"{word.split('=')[0]} is not for the runs of a search, which says it for each.")
    tried = {name: getattr(its, "low", None) or its.choices[0] for name, its in space.distributions.items()}
    training = parse_trial(arguments, [*flags, *flags_of(space.fixed | tried)]).training
    if training.eval_strategy == "no":
        raise InputError("`eval_strategy` must be 'epoch' or 'steps' in a search, which goes by the scores, got 'no'.")
    return bool(training.greater_is_better)


def check_same_search(study: Study, arguments: SearchArguments, flags: Sequence[str], space: SearchSpace) -> None:
    """Notes in a new study what is searched; refuses to go on with one of something else."""
    searched = {
        "task": arguments.task,
        "flags": list(flags),
        "method": space.method,
        "fixed": space.fixed,
        "parameters": {name: str(its) for name, its in space.distributions.items()},
    }
    before = study.user_attrs.get(SEARCHED)
    if before is None:
        study.set_user_attr(SEARCHED, searched)
    elif before != searched:
        ((name, was, now), *_) = [
            (key, before[key], searched[key]) for key in searched if before[key] != searched[key]
        ]
        raise InputError(
            f"the study {study.study_name!r} was begun with {name} {was}, now {now}: name another --study_name or "
            "--output_dir."
        )


def tell_finished(study: Study, told: int, n_trials: int) -> int:
    """Says a line for each trial that came to its end since `told` of them; an error before any score ends all."""
    finished = sorted(finished_trials(study), key=lambda trial: trial.datetime_complete)
    for number, trial in enumerate(finished[told:], start=told + 1):
        params = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in trial.params.items()
        )
        score = trial.user_attrs.get(ERROR, trial.state.name.lower()) if trial.value is None else f"{trial.value:.4f}"
        logger.info("%s of %s: %s (%s)", number, n_trials, score, params)
    errors = [trial.user_attrs[ERROR] for trial in finished if ERROR in trial.user_attrs]
    if errors and len(errors) == len(finished):
        raise InputError(f"the first trial failed: {errors[0]}")
    return len(finished)

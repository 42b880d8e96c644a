"""A process with one trial: `python -m extrabert_hf.search.trial`, with the arguments of `extrabert search`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from optuna import Trial
from optuna.trial import FrozenTrial, TrialState
from transformers import TrainerCallback

from extrabert_hf.console import command_console
from extrabert_hf.errors import InputError, one_line
from extrabert_hf.library_output import shows_details
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import hold_run
from extrabert_hf.search.arguments import SearchArguments
from extrabert_hf.search.space import SearchSpace, flags_of, read_space
from extrabert_hf.search.study import (
    DOUBLE,
    ERROR,
    INTERRUPTED,
    PLAN,
    PROCESS,
    Plan,
    open_study,
    state_of,
    trials_of_plans,
)
from extrabert_hf.tasks import PAPER_TASKS, RUN_TASKS
from extrabert_hf.training.command_line import parse_multitask_run, parse_run, yaml_of_flags
from extrabert_hf.training.command_parser import CommandParser, flag_of
from extrabert_hf.training.defaults import own_data_config
from extrabert_hf.training.finetune import run_finetuning
from extrabert_hf.training.own_data import flags_of_own_run, parse_own_run
from extrabert_hf.training.run import Run


def parse_search(argv: Sequence[str]) -> tuple[SearchArguments, list[str]]:
    """Parses the command line of `extrabert search`: the arguments of the search, and the flags of its runs."""
    parser = CommandParser(SearchArguments)
    return parser.parse_args_into_dataclasses(list(argv), return_remaining_strings=True)


def words_of_search(words: Sequence[str]) -> list[str]:
    """
    Returns the words of a search with flags in place of the first word, if that is a task or data.

    The flags for data are those that [`parse_own_run`] finds in the rows, so that `best.yaml` has them, too.
    """
    if not words or words[0].startswith("-"):
        return list(words)
    first, *rest = words
    if any(word.partition("=")[0] == "--task" for word in rest):
        raise InputError(f"`task` is that of the first word, {first!r}: leave out `--task`, or the word.")
    if first in RUN_TASKS:
        return ["--task", first, *rest]
    arguments, flags = parse_search(rest)
    run = parse_own_run(first, flags)
    (spec,) = run.specs.values()
    found = flags_of_own_run(run)
    found |= {"output_dir": arguments.output_dir or f"runs/search/{spec.name}"}
    found |= {"study_name": arguments.study_name or spec.name, "data": first}
    task = next(name for name, of_paper in PAPER_TASKS.items() if of_paper.head == spec.head)
    # later flags win: those of the user
    return ["--task", task, *(word for name, value in found.items() for word in flag_of(name, value)), *rest]


def parse_trial(arguments: SearchArguments, flags: Sequence[str]) -> Run:
    """Parses the flags of a trial's run; without `--config`, rows of the user have the defaults of a single run."""
    default = own_data_config(flags)
    if arguments.task == "multitask":
        return parse_multitask_run(flags, default_config=default)
    return parse_run(arguments.task, flags, default_config=default)


def run_next_trial(arguments: SearchArguments, flags: Sequence[str], space: SearchSpace) -> None:
    """
    Runs the first trial of the queue, if any, and records its score, pruning or error in the study.

    Args:
        arguments ([`SearchArguments`]):
            The arguments of the search.
        flags (`Sequence[str]`):
            The flags of every run.
        space ([`SearchSpace`]):
            The search space.
    """
    study = open_study(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the search logs the error of a trial, in one line
    if not any(state_of(trials) is Plan.WAITING for trials in trials_of_plans(study).values()):
        return

    def objective(trial: Trial) -> float:
        plan = trial.user_attrs.get(PLAN)
        taken = [] if plan is None else trials_of_plans(study)[plan]
        if plan is None or any(other.number < trial.number and not is_free(other) for other in taken):
            trial.set_user_attr(DOUBLE, True)  # another process took the plan first
            raise optuna.TrialPruned
        trial.set_user_attr(PROCESS, os.getpid())
        seed = int(np.random.SeedSequence([arguments.search_seed, plan]).generate_state(1)[0])
        samplers = {"random": optuna.samplers.RandomSampler, "bayes": optuna.samplers.TPESampler}
        study.sampler = samplers[space.method](seed=seed)  # otherwise every process draws the same values
        words = [*flags, *flags_of(space.suggest(trial))]
        try:
            return train(arguments, words, trial, arguments.folder_of_trial(plan))
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
            trial.set_user_attr(INTERRUPTED, True)
            raise
        except Exception as error:
            trial.set_user_attr(ERROR, one_line(error))  # the trial has ended: it is not restarted
            raise

    study.optimize(objective, n_trials=1)


def is_free(trial: FrozenTrial) -> bool:
    """Whether another trial may take the plan of this trial."""
    return trial.state in (TrialState.FAIL, TrialState.WAITING)


def run_text(arguments: SearchArguments, flags: Sequence[str]) -> str:
    """Returns the arguments of a trial as YAML: JSON would change the keys of `rules`, which are numbers."""
    return yaml.safe_dump(yaml_of_flags(flags, multitask=arguments.task == "multitask"))


def train(arguments: SearchArguments, flags: Sequence[str], trial: Trial, folder: Path) -> float:
    """Trains one run, from the last checkpoint if one exists, and returns the score of the model that it keeps."""
    run_folder = RunFolder(folder)
    words = [trial.study.study_name, run_text(arguments, flags)]
    resumes = run_folder.read_words() == words and run_folder.last_checkpoint is not None
    start = "--resume_from_checkpoint=last" if resumes else "--overwrite_output_dir=true"
    quiet = [] if shows_details() else ["--disable_tqdm=true"]  # the search shows the progress
    run = parse_trial(arguments, [*flags, "--output_dir", str(folder), "--predict_test=false", start, *quiet])
    scores = ScoresOfTrial(trial, f"eval_{run.training.metric_for_best_model}")
    with hold_run("output_dir", folder):
        run_folder.write_words(words)
        run_finetuning(run, callbacks=[scores])
    if not scores.found:
        raise InputError(
            "the run ended before the first evaluation: `eval_steps` must be at most the number of steps."
        )
    if not run.training.load_best_model_at_end:
        return scores.found[-1]  # the last model is kept
    return max(scores.found) if run.training.greater_is_better else min(scores.found)


class ScoresOfTrial(TrainerCallback):
    """
    Reports the score of each evaluation to the study, and stops a trial that the pruner of the study rejects.

    Args:
        trial (`optuna.Trial`):
            The trial.
        name (`str`):
            Name of the score in the trainer's log, such as `"eval_pearson"`.
    """

    def __init__(self, trial: Trial, name: str) -> None:
        self.trial, self.name = trial, name
        self.found: list[float] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Reports the new scores by the number of their evaluation; may raise `optuna.TrialPruned`."""
        self._report(state)
        if state.global_step < state.max_steps and self.trial.should_prune():
            raise optuna.TrialPruned

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Reports the scores of a run that was resumed after its last step."""
        self._report(state)

    def _report(self, state: Any) -> None:
        found = [entry[self.name] for entry in state.log_history if self.name in entry]  # also those before a resume
        for step in range(len(self.found), len(found)):
            self.trial.report(found[step], step + 1)
        self.found = found


if __name__ == "__main__":
    with command_console(is_child=True):
        search_arguments, run_flags = parse_search(sys.argv[1:])
        run_next_trial(search_arguments, run_flags, read_space(search_arguments.space))

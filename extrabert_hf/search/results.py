"""The results of a search: a table of the trials, the YAML of the best trial, and a figure."""

import csv
import shlex
from collections.abc import Sequence
from typing import Any

import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna import Study
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from extrabert_hf.evaluation.scores import interval_text
from extrabert_hf.files import atomic_path, write_figure, write_text
from extrabert_hf.runs.figure_text import figure_text
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import hold_run
from extrabert_hf.search.arguments import SearchArguments
from extrabert_hf.search.space import SearchSpace, flags_of
from extrabert_hf.search.study import PLAN, error_of, finished_trials
from extrabert_hf.search.trial import parse_trial
from extrabert_hf.training.command_line import yaml_of_flags

MOST_PANELS = 12
"""Maximum number of arguments in the figure; the table has all of them."""
RESULTS = TABLE, FIGURE, BEST = "trials.csv", "trials.png", "best.yaml"


def write_results(study: Study, arguments: SearchArguments, flags: Sequence[str], space: SearchSpace) -> list[str]:
    """
    Writes `trials.csv`, `trials.png` and `best.yaml`. Removes all checkpoints, and the weights of all trials but the
    best.

    Args:
        study (`Study`):
            The study, with or without finished trials.
        arguments ([`SearchArguments`]):
            The arguments of the search; `folder` is written to.
        flags (`Sequence[str]`):
            Flags of every run.
        space ([`SearchSpace`]):
            The searched arguments.

    Returns:
        `list[str]`: lines to log.
    """
    trials = finished_trials(study)
    folder = arguments.folder
    names = [*space.distributions, *space.fixed]
    with atomic_path(folder / TABLE) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", "score", "evaluations", "seconds", *names, "error"])
        writer.writerows(_row(trial, names, space) for trial in trials)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    counts = [f"{len(complete)} complete"]
    for state, word in ((TrialState.PRUNED, "pruned"), (TrialState.FAIL, "failed")):
        if count := sum(trial.state == state for trial in trials):
            counts.append(f"{count} {word}")
    lines = [f"{len(trials)} trials: {', '.join(counts)}; {folder / TABLE}"]
    pick = max if study.direction.name == "MAXIMIZE" else min
    best = pick(complete, key=lambda trial: trial.value, default=None)
    for trial in trials:
        run = RunFolder(arguments.folder_of_trial(trial.user_attrs[PLAN]))
        if run.path.is_dir():  # otherwise the trial ran on another machine
            with hold_run("output_dir", run.path):
                run.remove_checkpoints()
                if trial is not best:
                    run.remove_weights()
    if best is None:
        return lines
    words = [*flags, *flags_of(space.fixed | best.params)]
    score = parse_trial(arguments, words).training.metric_for_best_model
    figure = plot_trials(trials, list(space.distributions), best, f"{score} on dev")
    write_figure(folder / FIGURE, figure, dpi=120)
    write_text(
        folder / BEST,
        f"# the best of {len(trials)} trials, {best.value:.4f} on the dev rows that selected it\n"
        + yaml.safe_dump(yaml_of_flags(words, multitask=arguments.task == "multitask"), sort_keys=False),
    )
    values = ", ".join(f"{name} {value}" for name, value in best.params.items())
    plan = best.user_attrs[PLAN]
    lines.append(
        f"best: trial {plan}, {best.value:.4f}{_interval(RunFolder(arguments.folder_of_trial(plan)))}, {values}"
    )
    command = ["extrabert", "train", arguments.task, "--config", str(folder / BEST), "--seed", "43"]
    lines.append(f"again, with another seed: {shlex.join([*command, '--output_dir', str(folder / 'seed-43')])}")
    return lines


def plot_trials(trials: Sequence[FrozenTrial], names: Sequence[str], best: FrozenTrial, score: str) -> Figure:
    """
    Draws the scores over the number of the trial, and over each searched argument.

    Args:
        trials (`Sequence[FrozenTrial]`):
            One or more. A pruned trial is drawn with its last score, a failed trial is not drawn.
        names (`Sequence[str]`):
            Names of the arguments; the first [`MOST_PANELS`] are drawn.
        best (`FrozenTrial`):
            The trial to mark.
        score (`str`):
            Name of the score, the label of the axis.
    """
    names = names[:MOST_PANELS]
    figure = Figure(figsize=(4 * (1 + len(names)), 3.4), layout="constrained")
    panels = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    for axes, name in zip(panels, ["trial", *names], strict=True):
        if isinstance(choices := best.distributions.get(name), CategoricalDistribution):
            axes.xaxis.update_units([figure_text(str(choice), 80) for choice in choices.choices])  # in their order
        for state, marker, label in ((TrialState.COMPLETE, "o", "complete"), (TrialState.PRUNED, "x", "pruned")):
            if shown := [t for t in trials if t.state == state and _last_score(t) is not None]:
                places = [_place(trial, name) for trial in shown]
                axes.scatter(places, [_last_score(trial) for trial in shown], marker=marker, label=label, alpha=0.75)
        axes.scatter([_place(best, name)], [best.value], s=150, facecolors="none", edgecolors="tab:red", label="best")
        if name == "trial":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        elif getattr(best.distributions[name], "log", False):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=figure_text(name, 40), ylabel=figure_text(score, 40) if name == "trial" else None)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _place(trial: FrozenTrial, name: str) -> Any:
    if name == "trial":
        return trial.user_attrs[PLAN]
    is_choice = isinstance(trial.distributions[name], CategoricalDistribution)
    return figure_text(str(trial.params[name]), 80) if is_choice else trial.params[name]


def _last_score(trial: FrozenTrial) -> float | None:
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def _row(trial: FrozenTrial, names: Sequence[str], space: SearchSpace) -> list[Any]:
    seconds = round((trial.datetime_complete - trial.datetime_start).total_seconds(), 1)
    values = [(space.fixed | trial.params).get(name) for name in names]
    state = trial.state.name.lower()
    return [
        *(trial.user_attrs[PLAN], state, _last_score(trial), len(trial.intermediate_values), seconds),
        *values,
        error_of(trial),
    ]


def _interval(run: RunFolder) -> str:
    """Returns the 95 % interval of a single task's main metric on dev: it shows the uncertainty of a score."""
    if not run.is_finished:
        return ", on another machine"
    tasks = run.read_metrics().tasks
    if len(tasks) > 1:
        return ""
    ((name, entry),) = tasks.items()
    interval = interval_text(*entry.scores["dev"].intervals[entry.task.metric])
    return f" ({name} {entry.task.metric} {interval})"

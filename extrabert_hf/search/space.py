"""The search space: a sweep file of Weights & Biases, which `wandb sweep` also reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna import Trial
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from extrabert_hf.errors import InputError
from extrabert_hf.training.command_parser import flag_of
from extrabert_hf.training.packaged_configs import find_config
from extrabert_hf.training.yaml_files import read_yaml

METHODS = ("random", "bayes")

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


@dataclass(frozen=True)
class SearchSpace:
    """
    The arguments that are searched, with their distributions.

    Args:
        method (`str`):
            `"random"`, or `"bayes"`, the tree-structured Parzen estimator.
        distributions (`dict[str, Distribution]`):
            By argument, the distribution of the argument's values.
        fixed (`dict[str, Any]`):
            Arguments with one value.
        run_cap (`int`, *optional*):
            Number of trials in the file.
    """

    method: str
    distributions: dict[str, Distribution]
    fixed: dict[str, Any]
    run_cap: int | None = None

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Returns the values of the arguments for a trial."""
        return self.fixed | {name: _suggest(trial, name, entry) for name, entry in self.distributions.items()}

    def corners(self) -> list[dict[str, Any]]:
        """Returns sets of values that together contain each choice and both ends of each range."""
        ends = {
            name: list(entry.choices) if isinstance(entry, CategoricalDistribution) else [entry.low, entry.high]
            for name, entry in self.distributions.items()
        }
        longest = max(map(len, ends.values()), default=1)
        return [
            self.fixed | {name: values[min(index, len(values) - 1)] for name, values in ends.items()}
            for index in range(longest)
        ]


def read_space(path: str | Path) -> SearchSpace:
    """
    Reads `method`, `parameters` and `run_cap` of a sweep file. Its other keys are for `wandb sweep` only.

    A parameter has `values` (a list), `value` (a constant), or `min` and `max`. For `min` and `max` the `distribution`
    is `log_uniform_values`, `uniform` (the default for floats) or `int_uniform` (the default for integers).

    Args:
        path (`str` or `Path`):
            A YAML file, or the name of a packaged one, such as `"search/paper"`.

    Raises:
        [`InputError`]: if the file cannot be read, or a method or parameter has another form.
    """
    sweep = read_yaml(find_config(path, "space"), "space")
    parameters = sweep.get("parameters") if isinstance(sweep, dict) else None
    if not isinstance(parameters, dict) or not parameters:
        raise InputError(f"`space` must have `parameters`, a mapping of arguments, got none in {path}.")
    method = sweep.get("method", "random")
    if method not in METHODS:
        raise InputError(f"`method` in {path} must be one of {', '.join(map(repr, METHODS))}, got {method!r}.")
    fixed = {name: entry["value"] for name, entry in parameters.items() if _is_constant(entry)}
    distributions = {name: _distribution(name, entry, path) for name, entry in parameters.items() if name not in fixed}
    run_cap = sweep.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        raise InputError(f"`run_cap` in {path} must be 1 or more, got {run_cap!r}.")
    return SearchSpace(method, distributions, fixed, run_cap)


def _is_constant(parameter: Any) -> bool:
    return isinstance(parameter, dict) and set(parameter) == {"value"}


def flags_of(values: Mapping[str, Any]) -> list[str]:
    """Turns arguments and their values into the words of a command line."""
    return [word for name, value in values.items() for word in flag_of(name, value)]


def _suggest(trial: Trial, name: str, distribution: Distribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _distribution(name: str, parameter: Any, path: str | Path) -> Distribution:
    keys = set(parameter) if isinstance(parameter, dict) else set()
    choices = parameter["values"] if keys == {"values"} else None
    if isinstance(choices, list) and choices and all(isinstance(choice, (str, int, float)) for choice in choices):
        return CategoricalDistribution(parameter["values"])
    if {"min", "max"} <= keys <= {"min", "max", "distribution"}:
        low, high = parameter["min"], parameter["max"]
        numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in (low, high))
        whole = numbers and isinstance(low, int) and isinstance(high, int)
        kind = parameter.get("distribution", "int_uniform" if whole else "uniform")
        if numbers and low < high and kind in ("uniform", "log_uniform_values"):
            if kind == "uniform" or low > 0:
                return FloatDistribution(low, high, log=kind == "log_uniform_values")
        elif whole and low < high and kind == "int_uniform":
            return IntDistribution(low, high)
    raise InputError(
        f"`{name}` in {path} must have `values` (a list of words or numbers), `value`, or `min` < `max` with a "
        f"`distribution` 'uniform', 'int_uniform' or 'log_uniform_values' (above 0), numbers with a point (1.0e-6), "
        f"got {parameter!r}."
    )

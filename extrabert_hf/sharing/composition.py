"""Composes LoRA models of one task each into one model: a frozen encoder, and an adapter and a head per task."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.files import atomic_folder
from extrabert_hf.models import ExtraBertConfig, ExtraBertForMultiTask
from extrabert_hf.models.adapter_files_extrabert import AdapterFiles
from extrabert_hf.models.configuration_extrabert import TASK_FIELDS
from extrabert_hf.pretrained.adapters import ONE_TASK, read_adapter, read_config, saved_model_class
from extrabert_hf.pretrained.loading import load_tokenizer
from extrabert_hf.pretrained.names import find_encoder
from extrabert_hf.pretrained.remote_code import check_code, is_code_trusted
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import check_room, hold_run
from extrabert_hf.runs.run_metrics import RunMetrics, TaskMetrics
from extrabert_hf.runs.train_rows import copy_train_rows
from extrabert_hf.sharing.repository_files import write_card
from extrabert_hf.terminal import markdown_rows


@dataclass(frozen=True)
class TaskPart:
    """
    The saved parts of the model of one task.

    Args:
        adapter ([`AdapterFiles`]):
            The LoRA adapter, with the weights of head and pooling.
        config ([`ExtraBertConfig`]):
            The config of the model.
        head (`str`):
            Kind of the head: `"sentiment"`, `"paraphrase"` or `"similarity"`.
    """

    adapter: AdapterFiles
    config: ExtraBertConfig
    head: str


def compose_adapters(
    folders: Mapping[str, str | Path], *, resolve: Callable[[str], str] | None = None
) -> ExtraBertForMultiTask:
    """
    Composes models of one task each, trained with LoRA on the same encoder, into a multitask model.

    The tasks are trained separately, as in ExTraBERT's exclusive training, but share one encoder in memory.
    `model(task=...)` returns the logits of the separate model. One forward pass can take rows of several tasks.

    Args:
        folders (`Mapping[str, str | Path]`):
            By task name, the folder of the task's run, or the folder of the adapter in it.
        resolve (`Callable[[str], str]`, *optional*):
            Returns the folder or Hub id to load the encoder from, given its name; by default [`find_encoder`].

    Returns:
        [`ExtraBertForMultiTask`]: in float32 and evaluation mode.

    Raises:
        [`InputError`]: if a folder has no adapter of a model of one task, or the encoders differ.
    """
    parts = {task: _read_part(Path(folder)) for task, folder in folders.items()}
    if not parts:
        raise InputError("`folders` must hold the run of at least one task, got none.")
    encoders = {task: part.adapter.encoder for task, part in parts.items()}
    if len(set(encoders.values())) > 1:
        raise InputError(f"`folders` must hold adapters of one encoder, got {encoders}.")
    with_pooler = [task for task, part in parts.items() if part.config.pooling == "pooler"]
    if len(with_pooler) > 1:
        raise InputError(f"`folders` must hold at most one task with the encoder's own pooler, got {with_pooler}.")
    if by_length := [task for task, part in parts.items() if part.config.encode_by_length]:
        raise InputError(
            f"`folders` must hold adapters of an encoder that ignores padding, that of {by_length[0]!r} needs "
            "sentences of one length at a time."
        )
    first = next(iter(parts.values())).adapter
    source = find_encoder(first.encoder, first.source) if resolve is None else resolve(first.encoder)
    check_code(source)
    encoder, weights = first.load_encoder(source, {"trust_remote_code": is_code_trusted()})
    tasks: dict[str, dict[str, Any]] = {}
    for task, part in parts.items():
        adapter = part.adapter
        try:
            adapter.check_encoder(weights)
        except ValueError as error:
            raise InputError(one_line(error)) from error
        last_names = sorted({layer.rpartition(".")[2] for layer in adapter.target_modules})
        fields = {"r": adapter.r, "lora_alpha": adapter.lora_alpha, "target_modules": last_names}
        tasks[task] = {"head": part.head, "adapter": fields}
        tasks[task] |= {name: getattr(part.config, name) for name in TASK_FIELDS}
        weights |= {_name_of_joined(name, task): weight for name, weight in adapter.weights.items()}
    config = ExtraBertConfig(backbone_config=encoder.config, tasks=tasks)
    with torch.device("meta"):
        model = ExtraBertForMultiTask(config)
    due = model.state_dict().keys()
    weights = {
        name: weight for name, weight in weights.items() if name in due or not name.startswith("backbone.pooler.")
    }
    if due != weights.keys():
        raise InputError(
            f"`folders` must hold whole adapters of {first.encoder}, "
            f"{len(due ^ weights.keys())} weights do not fit, the first {min(due ^ weights.keys())!r}."
        )
    model = ExtraBertForMultiTask(config)
    model.load_state_dict(weights)
    return model.eval()


def compose_runs(folders: Sequence[str | Path], output_dir: str | Path) -> str:
    """
    Composes the models of finished runs into a folder with the model, the tokenizer and the runs' metrics.

    Args:
        folders (`Sequence[str | Path]`):
            Runs with LoRA of one task each. The tasks' names must differ.
        output_dir (`str` or `Path`):
            The folder to write. The metrics of each task are those of the task's run.

    Returns:
        `str`: the sizes of the composed model and of the separate models as a Markdown table.

    Raises:
        [`InputError`]: as [`compose_adapters`], and if the tokenizers differ.
    """
    runs: dict[str, RunFolder] = {}
    metrics: list[RunMetrics] = []
    for run in (RunFolder(Path(folder)) for folder in folders):
        if not run.is_finished:
            raise InputError(f"`folders` must hold finished runs, but {run.path} has no {run.METRICS}.")
        found = run.read_metrics()
        if len(found.tasks) > 1 or found.tasks.keys() & runs.keys():
            raise InputError(
                f"`folders` must hold one task each, all different, got {list(found.tasks)} in {run.path}."
            )
        (task,) = found.tasks
        runs[task] = run
        metrics.append(found)
    tokenizers = {task: load_tokenizer(str(run.path)) for task, run in runs.items()}
    first = next(iter(tokenizers.values()))
    for task, tokenizer in tokenizers.items():
        if (tokenizer.get_vocab(), tokenizer.model_max_length) != (first.get_vocab(), first.model_max_length):
            raise InputError(
                f"`folders` must hold models of one tokenizer and `max_length`, but that of {task!r} differs."
            )
    output = RunFolder(Path(output_dir))
    if output.path.is_file() or output.config_file.exists():
        raise InputError(f"`output_dir` must be a folder without a model, got {output_dir}.")
    if len(runs) < 2:
        raise InputError(f"`folders` must hold two runs or more, got {len(runs)}.")
    with hold_run("output_dir", output.path):
        check_room("output_dir", output.path)
        model = compose_adapters({task: run.path for task, run in runs.items()})
        with atomic_folder(output.path) as folder:
            model.save_pretrained(folder)
            first.save_pretrained(folder)
            staged = RunFolder(folder)
            staged.scored.mkdir()
            for task, run in runs.items():
                for table in run.scored_files(task):
                    shutil.copyfile(table, staged.scored / table.name)
            copy_train_rows([run.path for run in runs.values()], staged)
            staged.write_metrics(joined_metrics(metrics))
        write_card(output.path)
    sizes = {task: run.weights_file.stat().st_size for task, run in runs.items()}
    joined = output.weights_file.stat().st_size
    sizes = {f"{task}, separate model": size for task, size in sizes.items()}
    sizes |= {f"the {len(runs)} together": sum(sizes.values()), "joined": joined}
    rows = [(name, f"{size / 1e6:.1f}") for name, size in sizes.items()]
    return "\n".join(markdown_rows([("model", "weights, MB"), *rows]))


def joined_metrics(metrics: Sequence[RunMetrics]) -> RunMetrics:
    """Returns the tasks of several runs, one or more, with the arguments, machine and versions that all runs share."""
    tasks: dict[str, TaskMetrics] = {}
    for run in metrics:
        tasks |= run.tasks
    names = ("lora", "arguments", "machine", "versions")
    shared = {name: _in_common([getattr(run, name) for run in metrics]) for name in names}
    return RunMetrics(tasks=tasks, **shared)


def _in_common(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = records
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _read_part(folder: Path) -> TaskPart:
    """Reads the adapter of a run, or of the adapter's folder in it."""
    in_run = RunFolder(folder).adapter
    folder = in_run if in_run.is_dir() else folder
    adapter = read_adapter(folder, "folders")
    config = read_config(folder)
    model_class = saved_model_class(config, folder, "`folders` must hold adapters of", ONE_TASK)
    return TaskPart(adapter, config, model_class.head_kind)


def _name_of_joined(name: str, task: str) -> str:
    layer, is_adapter, rest = name.rpartition(".lora_")
    if is_adapter:
        return f"{layer}.adapters.{task}.lora_{rest}"
    if name.startswith("backbone."):
        return name
    module, _, rest = name.partition(".")
    return f"{'poolings' if module == 'pooling' else 'heads'}.{task}.{rest}"

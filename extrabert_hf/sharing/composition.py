"""Models fine-tuned apart with LoRA -> one model: one frozen encoder, an adapter and a head a task."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from extrabert_hf.errors import InputError
from extrabert_hf.models import ExtraBertConfig, ExtraBertForMultiTask
from extrabert_hf.models.adapter_files_extrabert import WEIGHTS_FILE, AdapterFiles
from extrabert_hf.models.configuration_extrabert import TASK_FIELDS
from extrabert_hf.pretrained.adapters import ONE_TASK, read_adapter, saved_model_class
from extrabert_hf.pretrained.names import resolve_model_name

WEIGHTS = "model.safetensors"


def compose_adapters(
    folders: Mapping[str, str | Path], *, resolve: Callable[[str], str] = resolve_model_name
) -> ExtraBertForMultiTask:
    """
    Joins models of one task each, trained with LoRA on the same encoder, without touching what each has learned.

    ExTraBERT's "exclusive" training of each task at the memory of one encoder: `model(task=...)` gives the logits of
    that task's own model, and one forward takes rows of several tasks.

    Args:
        folders (`Mapping[str, str | Path]`):
            By the name of a task, its run's folder, or the folder `adapter` in it.
        resolve (`Callable[[str], str]`, *optional*):
            Turns the encoder's name into the folder or Hub id to load it from.

    Returns:
        [`ExtraBertForMultiTask`]: in float32 and evaluation mode.

    Raises:
        [`InputError`]: if a folder holds no adapter of a model of one task, or the encoders differ.
    """
    parts = {task: _read_adapter(Path(folder)) for task, folder in folders.items()}
    if not parts:
        raise InputError("`folders` must hold the run of at least one task, got none.")
    encoders = {task: adapter.encoder for task, (adapter, _, _) in parts.items()}
    if len(set(encoders.values())) > 1:
        raise InputError(f"`folders` must hold adapters of one encoder, got {encoders}.")
    with_pooler = [task for task, (_, config, _) in parts.items() if config.pooling == "pooler"]
    if len(with_pooler) > 1:
        raise InputError(f"`folders` must hold at most one task with the encoder's own pooler, got {with_pooler}.")
    first = next(iter(parts.values()))[0]
    encoder, weights = first.load_encoder(resolve(first.encoder))
    tasks: dict[str, dict[str, Any]] = {}
    for task, (adapter, config, head) in parts.items():
        last_names = sorted({layer.rpartition(".")[2] for layer in adapter.target_modules})
        fields = {"r": adapter.r, "lora_alpha": adapter.lora_alpha, "target_modules": last_names}
        tasks[task] = {"head": head, "adapter": fields} | {name: getattr(config, name) for name in TASK_FIELDS}
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
    Joins finished runs into a folder with the model, its tokenizer, and what the runs say of their scores.

    Args:
        folders (`Sequence[str | Path]`):
            Runs with LoRA of one task each, of different names.
        output_dir (`str` or `Path`):
            Where to write; its `metrics.json` says of each task what the task's own run does.

    Returns:
        `str`: the sizes of the joined model and of the separate ones, as Markdown.

    Raises:
        [`InputError`]: as [`compose_adapters`], and if the tokenizers differ.
    """
    runs: dict[str, Path] = {}
    entries: dict[str, Any] = {}
    shared: dict[str, dict[str, Any]] = {}  # what all runs say of how they were trained
    for folder in map(Path, folders):
        if not (folder / "metrics.json").is_file():
            raise InputError(f"`folders` must hold finished runs, {folder} has no metrics.json.")
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        if len(metrics["tasks"]) > 1 or metrics["tasks"].keys() & runs.keys():
            raise InputError(f"`folders` must hold a task each, once, got {list(metrics['tasks'])} in {folder}.")
        ((task, entries[task]),) = metrics["tasks"].items()
        runs[task] = folder
        told = {name: metrics.get(name, {}) for name in ("arguments", "lora", "machine", "versions")}
        shared = told if not shared else {k: _in_common(part, told[k]) for k, part in shared.items()}
    tokenizers = {task: AutoTokenizer.from_pretrained(folder) for task, folder in runs.items()}
    first = next(iter(tokenizers.values()))
    for task, tokenizer in tokenizers.items():
        if (tokenizer.get_vocab(), tokenizer.model_max_length) != (first.get_vocab(), first.model_max_length):
            raise InputError(
                f"`folders` must hold models of one tokenizer and `max_length`, that of {task!r} differs."
            )
    output_dir = Path(output_dir)
    if output_dir.is_file() or (output_dir / "config.json").exists():
        raise InputError(f"`output_dir` must be a folder without a model, got {output_dir}.")
    if len(runs) < 2:
        raise InputError(f"`folders` must hold two runs or more, got {len(runs)}.")
    model = compose_adapters(runs)
    model.save_pretrained(output_dir)
    first.save_pretrained(output_dir)
    for task, folder in runs.items():
        for table in (folder / "scored").glob(f"{task}-*.csv"):
            (output_dir / "scored").mkdir(exist_ok=True)
            shutil.copy(table, output_dir / "scored")
    metrics = {"tasks": entries, **shared}
    (output_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    sizes = {task: (folder / WEIGHTS).stat().st_size for task, folder in runs.items()}
    joined = (output_dir / WEIGHTS).stat().st_size
    lines = [f"| {task}, its own model | {size / 1e6:.1f} |" for task, size in sizes.items()]
    lines += [f"| the {len(runs)} together | {sum(sizes.values()) / 1e6:.1f} |", f"| joined | {joined / 1e6:.1f} |"]
    return "\n".join(["| model | weights, MB |", "| --- | --- |", *lines])


def _in_common(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in a.items() if b.get(name) == value}


def _read_adapter(folder: Path) -> tuple[AdapterFiles, ExtraBertConfig, str]:
    """Reads the adapter of a run, its config, and the kind of its head."""
    folder = folder / "adapter" if (folder / "adapter").is_dir() else folder
    if not (folder / WEIGHTS_FILE).is_file():
        raise InputError(f"`folders` must hold runs with --lora true, {folder} has no {WEIGHTS_FILE}.")
    config = ExtraBertConfig.from_pretrained(folder)
    model_class = saved_model_class(config, folder, "`folders` must hold adapters of", ONE_TASK)
    return read_adapter(folder, "folders"), config, model_class.head_kind


def _name_of_joined(name: str, task: str) -> str:
    layer, is_adapter, rest = name.rpartition(".lora_")
    if is_adapter:
        return f"{layer}.adapters.{task}.lora_{rest}"
    if name.startswith("backbone."):
        return name
    module, _, rest = name.partition(".")
    return f"{'poolings' if module == 'pooling' else 'heads'}.{task}.{rest}"

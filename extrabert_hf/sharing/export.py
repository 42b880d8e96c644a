"""A trained model -> the files that other programs load, and how near they come to it on labelled rows."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase

from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError, one_line, refuse_file
from extrabert_hf.machine import describe_machine
from extrabert_hf.models import ExtraBertForMultiTask, ExtraBertForOneTask, ExtraBertPreTrainedModel
from extrabert_hf.pretrained.loading import build_multitask_model, load_model
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.sharing.onnx_export import export_onnx, open_session, quantize_onnx
from extrabert_hf.sharing.parity import (
    Variant,
    measure_parity,
    onnx_variant,
    parity_table,
    pytorch_variant,
    sentence_transformers_variant,
)
from extrabert_hf.sharing.sentence_transformers_export import export_sentence_transformers, load_sentence_transformer
from extrabert_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)

Format = Literal["onnx", "sentence-transformers", "safetensors"]

REPORT_FILE = "parity.json"


@dataclass
class ExportArguments:
    """What to write, where, and the rows to compare on."""

    format: Format = field(
        default="onnx",
        metadata={
            "help": "'onnx': one file with all heads; 'sentence-transformers': a similarity model's encoder; "
            "'safetensors': a folder that AutoModel loads, an adapter merged into its encoder, or one task of several."
        },
    )
    int8: bool = field(default=False, metadata={"help": "Write model_int8.onnx too, a quarter of the size."})
    task: str | None = field(
        default=None, metadata={"help": "Which task of a multitask model; by default an export has all of them."}
    )
    data: str | None = field(
        default=None,
        metadata={"help": "Labelled rows to compare scores on: 'sample', a folder, a file or a Hub id."},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Config name of a Hub data set."})
    split: Literal["train", "dev", "test"] = field(default="dev", metadata={"help": "Which of the rows."})
    output: str | None = field(
        default=None, metadata={"help": "Folder to write; by default export/FORMAT in the model's, -TASK behind it."}
    )

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise InputError(f"`format` must be one of {', '.join(map(repr, get_args(Format)))}, got {self.format!r}.")
        if self.int8 and self.format != "onnx":
            raise InputError(f"`int8` is for the format 'onnx', got {self.format!r}.")

    def folder_for(self, name: str) -> Path:
        """Gives the folder to write for the model that a user calls `name`, never the model's own."""
        kind = self.format if self.task is None else f"{self.format}-{self.task}"
        source = Path(resolve_model_name(name))
        if self.output is None:
            return source / "export" / kind if source.is_dir() else Path("export") / source.name / kind
        refuse_file("output", Path(self.output))
        if Path(self.output).resolve() == source.resolve():
            raise InputError(f"`output` must be another folder than the model's, got {self.output}.")
        return Path(self.output)


def run_export(
    name: str, arguments: ExportArguments, *, adjust_task: Callable[[TaskSpec], TaskSpec] = lambda task: task
) -> str | None:
    """
    Exports a model and, where there are rows, writes `parity.json` beside it.

    Args:
        name (`str`):
            Folder or Hub id of a model of this package; a folder may hold an adapter.
        arguments ([`ExportArguments`]):
            What to write.
        adjust_task (`Callable[[TaskSpec], TaskSpec]`, *optional*):
            Says where the rows hold what.

    Returns:
        `str`, *optional*: the parity report as a Markdown table, `None` without rows.

    Raises:
        [`InputError`]: if the model, the rows or a package can't be used, or the export disagrees with the model.
    """
    folder = arguments.folder_for(name)
    model, tokenizer, tasks = _load(name, arguments.task)
    model = model.cpu()
    tasks = {task_name: adjust_task(task) for task_name, task in tasks.items()}
    rows = {task_name: _rows(task, arguments) for task_name, task in tasks.items()} if arguments.data else {}
    variants = EXPORTERS[arguments.format](model, tokenizer, folder, arguments)
    if not rows:
        logger.info("parity was not measured on data: --data names labelled rows to measure it on")
        return None
    entries = []
    for task_name, task in tasks.items():
        is_one = isinstance(model, ExtraBertForOneTask)
        logger.info("comparing on %s rows of %s, one thread", f"{len(rows[task_name]):,}", task_name)
        before = pytorch_variant("PyTorch", model if is_one else model.extract(task_name), tokenizer)
        entries += measure_parity(task, rows[task_name], before, variants(None if is_one else task_name))
    report = {"model": name, "data": arguments.data, "split": arguments.split, "variants": entries}
    report["machine"] = describe_machine() | {"threads": 1}
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    logger.info("report in %s", folder / REPORT_FILE)
    return parity_table(entries, {task_name: task.metric for task_name, task in tasks.items()})


Variants = Callable[[str | None], list[Variant]]
"""Opens what was written, for a task of a model of several."""


def _onnx(
    model: ExtraBertPreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, arguments: ExportArguments
) -> Variants:
    files = {"onnx fp32": export_onnx(model, tokenizer, folder)}
    if arguments.int8:
        files["onnx int8"] = quantize_onnx(files["onnx fp32"])
    for path in files.values():
        logger.info("wrote %s, %.1f MB", path, path.stat().st_size / 1e6)
    return lambda task: [
        onnx_variant(name, open_session(path, threads=1), path.stat().st_size, tokenizer, task)
        for name, path in files.items()
    ]


def _sentence_transformers(
    model: ExtraBertPreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, arguments: ExportArguments
) -> Variants:
    needs_code = export_sentence_transformers(model, tokenizer, folder)
    more = ", trust_remote_code=True" if needs_code else ""
    logger.info("wrote %s: SentenceTransformer(%r%s) loads it", folder, str(folder), more)
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))

    def variants(task: str | None) -> list[Variant]:
        loaded = load_sentence_transformer(folder, trust_remote_code=needs_code)
        return [sentence_transformers_variant("sentence-transformers", loaded, model, size)]

    return variants


def _safetensors(
    model: ExtraBertPreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, arguments: ExportArguments
) -> Variants:
    model.config.backbone_config.name_or_path = ""  # a folder of this machine
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    loaded = AutoModel.from_pretrained(folder, dtype=torch.float32)
    weights, saved = model.state_dict(), loaded.state_dict()
    if weights.keys() != saved.keys() or not all(torch.equal(weight, saved[key]) for key, weight in weights.items()):
        raise InputError(f"`output` must hold the model's weights after saving, those in {folder} differ.")
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    logger.info("wrote %s, %.1f MB: AutoModel loads the model's weights from it", folder, size / 1e6)
    return lambda task: [pytorch_variant("safetensors", loaded if task is None else loaded.extract(task), tokenizer)]


EXPORTERS = {"onnx": _onnx, "sentence-transformers": _sentence_transformers, "safetensors": _safetensors}


def _load(
    name: str, task: str | None
) -> tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase, Mapping[str, TaskSpec]]:
    """Loads the model of one task, or of several where none is named, with its tasks by name."""
    path = resolve_model_name(name)
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise InputError(f"the model {path!r} can't be loaded: {one_line(error)}") from error
    several = getattr(config, "tasks", None)
    if task is not None or ExtraBertForMultiTask.__name__ not in (config.architectures or []) or not several:
        model, tokenizer, spec = load_model(name, task)
        return model, tokenizer, {spec.name: spec}
    tasks = {each: load_model(name, each)[2] for each in several}
    return *build_multitask_model(name, tasks, config_fields={}), tasks


def _rows(task: TaskSpec, arguments: ExportArguments) -> Dataset:
    loaded = load_split(task, arguments.data, arguments.split, dataset_config=arguments.dataset_config)
    for notice in loaded.notices:
        logger.info(notice)
    return loaded.splits[arguments.split]

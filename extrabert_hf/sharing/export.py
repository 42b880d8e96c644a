"""Exports a trained model to files that other programs load, and compares both on labelled rows."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError, refuse_file
from extrabert_hf.files import atomic_folder, write_json
from extrabert_hf.folder_lock import hold_folder
from extrabert_hf.machine import describe_machine
from extrabert_hf.manifest import check_own
from extrabert_hf.models import ExtraBertForMultiTask, ExtraBertPreTrainedModel
from extrabert_hf.pretrained.loading import load_model, load_whole_model, models_by_task
from extrabert_hf.pretrained.names import public_model_name, resolve_model_name
from extrabert_hf.sharing.onnx_export import export_onnx, open_session, quantize_onnx
from extrabert_hf.sharing.parity import (
    Variant,
    measure_parity,
    onnx_variant,
    parity_table,
    pytorch_variant,
    sentence_transformers_variant,
)
from extrabert_hf.sharing.repository_files import write_card
from extrabert_hf.sharing.sentence_transformers_export import export_sentence_transformers, load_sentence_transformer
from extrabert_hf.sharing.stock_classifier_export import export_stock_classifier, stock_variant
from extrabert_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)

Format = Literal["onnx", "sentence-transformers", "transformers", "safetensors"]

PARITY_FILE = "parity.json"


@dataclass
class ExportArguments:
    """The export's format, its folder, and the rows for the comparison."""

    format: Format = field(
        default="onnx",
        metadata={
            "help": "'onnx': one file with all heads; 'sentence-transformers': encoder and pooling of a similarity "
            "model; 'transformers': an ordinary ...ForSequenceClassification, if that class has the model's head; "
            "'safetensors': a folder that AutoModel loads, with an adapter merged into its encoder."
        },
    )
    int8: bool = field(
        default=False, metadata={"help": "Also write model_int8.onnx with 8-bit weights, a quarter of the size."}
    )
    pooling: Literal["mean", "cls"] | None = field(
        default=None,
        metadata={
            "help": "For 'sentence-transformers': pooling in place of the model's own, for servers that do not have "
            "the model's pooling. The scores change; --data measures by how much."
        },
    )
    task: str | None = field(
        default=None, metadata={"help": "Task to export from a multitask model. The default is all tasks."}
    )
    data: str | None = field(
        default=None,
        metadata={"help": "Labelled rows to compare scores on: 'sample', a folder, a file or a Hub id."},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Name of the configuration of a Hub data set."})
    split: Literal["train", "dev", "test"] = field(
        default="dev", metadata={"help": "Split with the rows to compare scores on."}
    )
    output: str | None = field(
        default=None,
        metadata={"help": "Folder to write. The default is export/FORMAT[-TASK] in the model's folder."},
    )

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise InputError(f"`format` must be one of {', '.join(map(repr, get_args(Format)))}, got {self.format!r}.")
        if self.int8 and self.format != "onnx":
            raise InputError(f"`int8` is for the format 'onnx', got {self.format!r}.")
        if self.pooling not in (None, "mean", "cls"):
            raise InputError(f"`pooling` must be 'mean' or 'cls', got {self.pooling!r}.")
        if self.pooling is not None and self.format != "sentence-transformers":
            raise InputError(f"`pooling` is for the format 'sentence-transformers', got {self.format!r}.")

    def folder_for(self, name: str) -> Path:
        """Returns the folder to write for the model `name`; it must not be the model's own folder."""
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
    Exports a model. With rows for a comparison, also writes `parity.json` into the export's folder.

    Args:
        name (`str`):
            Folder or Hub id of a model of this package; a folder may hold an adapter.
        arguments ([`ExportArguments`]):
            Format, folder and rows.
        adjust_task (`Callable[[TaskSpec], TaskSpec]`, *optional*):
            Sets the names of the columns of the rows.

    Returns:
        `str`, *optional*: the comparison as a Markdown table; `None` without rows.

    Raises:
        [`InputError`]: if the model, the rows or a package can't be used, or the export differs from the model.
    """
    folder = arguments.folder_for(name)
    for file in MAIN_FILES[arguments.format]:
        check_own("output", folder / file)
    model, tokenizer = _load(name, arguments.task)
    if model.config.encode_by_length and arguments.format != "safetensors":
        raise InputError(
            f"`format` must be 'safetensors' for {name}, got {arguments.format!r}: with the other formats sentences "
            "are padded, which changes the output of its encoder."
        )
    by_task = models_by_task(model.cpu(), tokenizer)
    rows = {}
    if arguments.data:
        rows = {task_name: _rows(adjust_task(trained.task), arguments) for task_name, trained in by_task.items()}
    with hold_folder("output", folder):
        variants = EXPORTERS[arguments.format](model, tokenizer, folder, arguments, public_model_name(name))
        if not rows:
            logger.info("parity was not measured on data: --data names labelled rows to measure it on")
            return None
        entries = []
        for task_name, trained in by_task.items():
            logger.info("comparing on %s rows of %s, one thread", f"{len(rows[task_name]):,}", task_name)
            before = pytorch_variant("PyTorch", trained)
            entries += measure_parity(trained.task, rows[task_name], before, variants(task_name))
        report = {
            "model": name,
            "data": arguments.data,
            "split": arguments.split,
            "variants": [asdict(entry) for entry in entries],
            "machine": describe_machine() | {"threads": 1},
        }
        write_json(folder / PARITY_FILE, report)
        logger.info("report in %s", folder / PARITY_FILE)
        return parity_table(entries, {task_name: trained.task.metric for task_name, trained in by_task.items()})


Variants = Callable[[str], list[Variant]]
"""Opens the exported files to predict one task, given by name."""


def _onnx(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    arguments: ExportArguments,
    source: str,
) -> Variants:
    with atomic_folder(folder) as temporary:
        files = {"onnx fp32": export_onnx(model, tokenizer, temporary, source=source)}
        if arguments.int8:
            files["onnx int8"] = quantize_onnx(files["onnx fp32"])
    files = {kind: folder / path.name for kind, path in files.items()}
    for path in files.values():
        logger.info("wrote %s, %.1f MB", path, path.stat().st_size / 1e6)
    has_several = isinstance(model, ExtraBertForMultiTask)
    return lambda task: [
        onnx_variant(
            name, open_session(path, threads=1), path.stat().st_size, tokenizer, task if has_several else None
        )
        for name, path in files.items()
    ]


def _sentence_transformers(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    arguments: ExportArguments,
    source: str,
) -> Variants:
    with atomic_folder(folder) as temporary:
        needs_code = export_sentence_transformers(
            model, tokenizer, temporary, source=source, pooling=arguments.pooling
        )
    name = "sentence-transformers"
    if arguments.pooling not in (None, model.config.pooling):
        name += f", {arguments.pooling} pooling"
        if arguments.data is None:
            logger.warning(
                "the model was trained with %s pooling: its scores with %s pooling differ and were not measured. "
                "--data names labelled rows to measure them on",
                model.config.pooling,
                arguments.pooling,
            )
    more = ", trust_remote_code=True" if needs_code else ""
    logger.info("wrote %s: SentenceTransformer(%r%s) loads it", folder, str(folder), more)
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))

    def variants(task: str) -> list[Variant]:
        loaded = load_sentence_transformer(folder, trust_remote_code=needs_code)
        return [sentence_transformers_variant(name, loaded, model, size)]

    return variants


def _transformers(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    arguments: ExportArguments,
    source: str,
) -> Variants:
    with atomic_folder(folder) as temporary:
        export_stock_classifier(model, tokenizer, temporary, source=source)
    logger.info("wrote %s: AutoModelForSequenceClassification.from_pretrained(%r) loads it", folder, str(folder))
    return lambda task: [stock_variant("transformers", folder, model)]


def _safetensors(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    arguments: ExportArguments,
    source: str,
) -> Variants:
    model.config.backbone_config.name_or_path = ""  # the path of a local folder must not be published
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    loaded, _ = load_whole_model(str(folder))
    weights, saved = model.state_dict(), loaded.state_dict()
    if weights.keys() != saved.keys() or not all(torch.equal(weight, saved[key]) for key, weight in weights.items()):
        raise InputError(f"`output` must hold the model's weights after saving, those in {folder} differ.")
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    write_card(folder)
    logger.info("wrote %s, %.1f MB: AutoModel loads it", folder, size / 1e6)
    return lambda task: [pytorch_variant("safetensors", models_by_task(loaded, tokenizer)[task])]


MODEL_FILES = ("config.json", "model.safetensors")
MAIN_FILES = {
    "onnx": ("model.onnx",),
    "sentence-transformers": ("modules.json", *MODEL_FILES),
    "transformers": MODEL_FILES,
    "safetensors": MODEL_FILES,
}
"""By format, files that the export writes: one that the user wrote is refused before the model is loaded."""

EXPORTERS = {
    "onnx": _onnx,
    "sentence-transformers": _sentence_transformers,
    "transformers": _transformers,
    "safetensors": _safetensors,
}


def _load(name: str, task: str | None) -> tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a whole model, or the model of one task of a multitask model."""
    if task is None:
        return load_whole_model(name)
    trained = load_model(name, task)
    return trained.model, trained.tokenizer


def _rows(task: TaskSpec, arguments: ExportArguments) -> Dataset:
    loaded = load_split(
        task, arguments.data, arguments.split, dataset_config=arguments.dataset_config, max_rejected_share=1
    )
    for notice in loaded.notices:
        logger.info(notice)
    return loaded.splits[arguments.split]

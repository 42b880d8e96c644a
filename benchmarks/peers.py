"""
The work of other libraries, in two settings.

`guide` is a library as its guide has it. `best` is the library at its best. The candidates are combinations of options
that the library documents for this work. Each candidate is measured once, in an extra round before the others. The
fastest one is then measured again in every round, in turn with ours.
"""

import itertools
import logging
import platform
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from benchmarks.workloads import MAX_LENGTH, Rows, Setting, single_task
from extrabert_hf.files import atomic_folder
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.tasks import SENTENCE_COLUMNS

logger = logging.getLogger(f"extrabert_hf.{__name__}")  # `command_console` shows the messages of this package

SETTINGS = ("guide", "best")
"""Values of `--settings`, and of `setting` in the results."""

Options = Mapping[str, Any]
"""Keyword arguments of the function that sets up a peer; none are the peer as its guide has it."""


def combine(*choices: Mapping[str, Options]) -> dict[str, Options]:
    """
    Returns every combination of one option of each choice, by name.

    Example:
        >>> combine({"float32": {}, "bfloat16": {"bf16": True}}, {"2 processes": {"workers": 2}})
        {'float32, 2 processes': {'workers': 2}, 'bfloat16, 2 processes': {'bf16': True, 'workers': 2}}
    """
    combined = {}
    for names in itertools.product(*choices):
        chosen = [choice[name] for name, choice in zip(names, choices, strict=True)]
        combined[", ".join(names)] = {key: value for options in chosen for key, value in options.items()}
    return combined


BFLOAT16: Options = {"bf16": True, "use_cpu": not torch.accelerator.is_available()}
"""Autocast of a trainer; on a CPU, the libraries require both arguments."""
GROUP_BY_LENGTH: Options = {"train_sampling_strategy": "group_by_length"}
AUTOCAST: dict[str, Options] = {"float32": {}, "bfloat16": BFLOAT16}


# Training


def sentence_transformers_trainer(setting: Setting, rows: Rows, **fields: Any) -> Trainer:
    """
    Builds a `SentenceTransformerTrainer` with `CosineSimilarityLoss`; labels are scaled to the range 0 to 1.

    `fields` are fields of `SentenceTransformerTrainingArguments` that differ from the defaults of the library.

    The setup follows the STS-B example of the sentence-transformers documentation. The collator of the library
    tokenizes, so tokenization is part of the measured time.
    """
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerModelCardData,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    task, dataset = single_task(rows)
    low, high = task.label_range
    card = SentenceTransformerModelCardData(local_files_only=True)
    card.widget = [{}]  # otherwise the library selects example rows for a model card that is never written
    model = SentenceTransformer(
        resolve_model_name(setting.model_name_or_path), model_card_data=card, trust_remote_code=False
    )
    model.max_seq_length = min(MAX_LENGTH, model.max_seq_length)
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**setting.training_fields(), **fields),
        train_dataset=dataset.select_columns([*SENTENCE_COLUMNS, "label"]).map(
            lambda row: {"label": (row["label"] - low) / (high - low)}
        ),
        loss=CosineSimilarityLoss(model),
    )


def transformers_trainer(setting: Setting, rows: Rows, **fields: Any) -> Trainer:
    """
    Builds a `Trainer` with `AutoModelForSequenceClassification`; a pair is one sequence (a cross-encoder).

    `fields` are fields of `TrainingArguments` that differ from the defaults of the library.

    The setup follows transformers' `run_glue.py`, with one difference: batches are padded to their longest row by
    `DataCollatorWithPadding`, which is faster than the script's default of padding every row to 128 tokens.
    """
    task, dataset = single_task(rows)
    path = resolve_model_name(setting.model_name_or_path)
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    columns = task.sentence_columns

    def tokenize(batch: dict[str, list]) -> dict[str, list]:
        return tokenizer(*(batch[name] for name in columns), truncation=True, max_length=max_length)

    return Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=len(task.class_names), trust_remote_code=False
        ),
        args=TrainingArguments(**setting.training_fields(), **fields),
        train_dataset=dataset.map(tokenize, batched=True, remove_columns=[*columns, "id"]),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )


# Pair scoring


def sentence_transformers_scoring(
    setting: Setting,
    rows: Rows,
    *,
    batch_size: int = 32,
    dtype: torch.dtype = torch.float32,
    backend: str | None = None,
) -> Callable[[], Any]:
    """
    Prepares sentence-transformers to score the same pairs.

    Args:
        setting ([`Setting`]):
            The settings that all contenders share.
        rows (`Mapping[str, Dataset]`):
            The pairs of one task.
        batch_size (`int`, defaults to 32):
            Sentences in a batch.
        dtype (`torch.dtype`, defaults to `torch.float32`):
            Type of the weights.
        backend (`str`, *optional*):
            `"onnx"` or `"openvino"` for the backend with this name, in int8; by default PyTorch.

    Returns:
        `Callable`: encodes both columns with `encode`, by default in the library's batches of 32, and returns the
        cosines, shape `(N,)`.
    """
    from sentence_transformers import SentenceTransformer, util

    (pairs,) = rows.values()
    if backend is None:
        model = SentenceTransformer(resolve_model_name(setting.model_name_or_path), trust_remote_code=False).to(dtype)
    else:
        model = int8_model(setting, backend, rows)
    model.max_seq_length = min(MAX_LENGTH, model.max_seq_length)
    first, second = (pairs[name][:] for name in SENTENCE_COLUMNS)

    def score() -> Any:
        vectors = (
            model.encode(column, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False)
            for column in (first, second)
        )
        return util.pairwise_cos_sim(*vectors).cpu()

    return score


INT8_BACKENDS = {
    "onnx": ("optimum.onnxruntime", "ORTModelForFeatureExtraction", "onnx/model_int8.onnx"),
    "openvino": ("optimum.intel.openvino", "OVModelForFeatureExtraction", "openvino/openvino_model_int8.xml"),
}
"""Backend of sentence-transformers -> the module and the class that it imports, and the file of an int8 model."""


def int8_model(setting: Setting, backend: str, rows: Rows) -> Any:
    """
    Loads the encoder in int8 for a backend of sentence-transformers.

    The first call makes the files in `setting.output_dir`, as the page "Speeding up Inference" of the
    sentence-transformers documentation has it; the sentences of `rows` calibrate OpenVINO.
    """
    from sentence_transformers import (
        SentenceTransformer,
        export_dynamic_quantized_onnx_model,
        export_static_quantized_openvino_model,
    )

    folder = Path(setting.output_dir) / f"{backend}-int8"
    if not folder.exists():
        path = resolve_model_name(setting.model_name_or_path)
        model = SentenceTransformer(path, backend=backend, model_kwargs={"export": True}, trust_remote_code=False)
        with atomic_folder(folder) as new:
            model.save_pretrained(str(new))
            if backend == "onnx":
                export_dynamic_quantized_onnx_model(model, onnx_architecture(), str(new), file_suffix="int8")
            else:
                (pairs,) = rows.values()
                (new / "sentences").mkdir()
                pairs.select_columns("sentence1").to_csv(str(new / "sentences" / "train.csv"))
                calibration = (str(new / "sentences"), "default", "train", "sentence1")
                export_static_quantized_openvino_model(model, None, str(new), *calibration, file_suffix="int8")
    file = {"file_name": INT8_BACKENDS[backend][-1]}
    return SentenceTransformer(str(folder), backend=backend, model_kwargs=file, trust_remote_code=False)


def onnx_architecture() -> str:
    """Returns the quantization of ONNX Runtime for the instructions of this processor."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm64"
    return "avx512_vnni" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "avx2"


# Candidates for the peer at its best


def transformers_options() -> dict[str, Options]:
    """Returns the candidates for the training of transformers: autocast, and rows of similar length in a batch."""
    return combine(AUTOCAST, {"random": {}, "group_by_length": GROUP_BY_LENGTH})


def sentence_transformers_options() -> dict[str, Options]:
    """
    Returns the candidates for the training of sentence-transformers: autocast, and processes that load batches.

    The library has no batch sampler that groups rows by length: its trainer builds the sampler itself and does not
    read `train_sampling_strategy`. Its collator tokenizes, so that processes can take that off the main one.
    """
    return combine(AUTOCAST, {"no loader processes": {}, "2 loader processes": {"dataloader_num_workers": 2}})


def sentence_transformers_scoring_options() -> dict[str, Options]:
    """
    Returns the candidates for the scoring of sentence-transformers: type of the weights, and sentences in a batch.

    An int8 backend whose class can't be imported is left out, with a message.
    """
    weights: dict[str, Options] = {"float32": {}, "bfloat16 weights": {"dtype": torch.bfloat16}}
    for backend, (module, model_class, _) in INT8_BACKENDS.items():
        try:
            getattr(import_module(module), model_class)  # optimum imports its dependencies at this access
        except ImportError as error:
            logger.info("sentence-transformers with %s int8 is not measured: %s", backend, error)
        else:
            weights[f"{backend} int8"] = {"backend": backend}
    sizes: dict[str, Options] = {"batches of 32": {}}
    sizes |= {f"batches of {size}": {"batch_size": size} for size in (128, 256)}
    return combine(weights, sizes)

"""The rates that `benchmarks/gpu.sh` measures: of the machine, training, pair scoring and gradient surgery."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from torch import nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    MPNetConfig,
    PreTrainedConfig,
    Trainer,
    TrainerCallback,
    set_seed,
)

from benchmarks.measures import function_of, matmul_rate
from benchmarks.peers import (
    BFLOAT16,
    GROUP_BY_LENGTH,
    sentence_transformers_scoring,
    sentence_transformers_trainer,
    transformers_trainer,
)
from benchmarks.runner import load_rows
from benchmarks.suite import Builder
from benchmarks.surgery import mean_backward, surgery_trainer
from benchmarks.workloads import (
    Rows,
    Setting,
    device_of_work,
    our_scoring,
    our_trainer,
)
from extrabert_hf.files import atomic_folder
from extrabert_hf.machine import describe_machine
from extrabert_hf.models import unpadding_extrabert
from extrabert_hf.tasks import PAPER_TASKS

Measure = Callable[[], dict[str, Any]]
RANDOM_ENCODERS: dict[str, PreTrainedConfig] = {
    "bert-base": BertConfig(),
    "mpnet-base": MPNetConfig(),
}
"""Encoders of base size with random weights, which use the tokenizer of MiniLM."""


@dataclass
class Bench:
    """
    What the measurements share: encoders, rows and sizes.

    Args:
        minilm (`str`):
            Folder of MiniLM, in any type of weights.
        data (`str`):
            `"sample"`, or a folder with the files of each task.
        folder (`Path`):
            Folder for encoders in float32 and for the files that a trainer may write.
        steps, warm_up (`int`):
            Training steps that are measured, and steps before them.
        pairs (`int`):
            Pairs that are scored.
        random_encoders (`Mapping[str, PreTrainedConfig]`):
            By name, the configs of the encoders with random weights.
    """

    minilm: str
    data: str
    folder: Path
    steps: int = 40
    warm_up: int = 10
    pairs: int = 16384
    random_encoders: Mapping[str, PreTrainedConfig] = field(default_factory=lambda: RANDOM_ENCODERS)
    loaded: dict[str, Dataset] = field(default_factory=dict)
    products: float | None = None

    def encoder(self, name: str) -> str:
        """
        Returns the folder of an encoder in float32, which is made at the first call.

        Every library loads the same file: transformers 5 would load weights in bfloat16 as bfloat16.
        """
        path = self.folder / name
        if not path.exists():
            set_seed(0)
            if name == "minilm":
                model = AutoModel.from_pretrained(self.minilm, dtype=torch.float32)
            else:
                model = AutoModel.from_config(self.random_encoders[name], dtype=torch.float32)
            with atomic_folder(path) as folder:
                model.save_pretrained(folder)
                AutoTokenizer.from_pretrained(self.minilm).save_pretrained(folder)
        return str(path)

    def setting(self, encoder: str, batch_size: int, bf16: bool = True) -> Setting:
        """Returns the settings that all contenders share."""
        return Setting(self.encoder(encoder), batch_size, bf16, output_dir=str(self.folder / "trainer"))

    def rows(self, task: str, count: int, *, repeat: bool = True) -> Dataset:
        """Returns the first training rows of a task, with `repeat` from the start again if the data has too few."""
        if task not in self.loaded:
            self.loaded[task] = load_rows(PAPER_TASKS[task], self.data, 10**6, repeat=False)
        rows = self.loaded[task]
        return rows.select([index % len(rows) for index in range(count if repeat else min(count, len(rows)))])

    def product_rate(self) -> float:
        """Returns the operations a second of a matrix product in bfloat16; 8192 rows and columns on a GPU."""
        if self.products is None:
            self.products = matmul_rate(torch.bfloat16, 8192 if torch.cuda.is_available() else 512) * 1e9
        return self.products


def synchronize() -> None:
    """Waits until the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def free_memory() -> None:
    """Frees the models of earlier measurements, and starts a new count of peak memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_mib() -> float | None:
    """Returns the MiB of tensors at the peak since [`free_memory`]; `None` without CUDA."""
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None


# The machine


def measure_machine(bench: Bench) -> dict[str, Any]:
    """Returns names, versions and the rates of a matrix product and of a copy in the GPU's memory."""
    found: dict[str, Any] = describe_machine() | {"transformers": transformers.__version__}
    if torch.cuda.is_available():
        found["capability"] = list(torch.cuda.get_device_capability())
    found["varlen_kernel"] = unpadding_extrabert.varlen_attn is not None
    found["bf16_product_tflops"] = bench.product_rate() / 1e12
    source = torch.ones(2**29 if torch.cuda.is_available() else 2**20, device=device_of_work())
    target = torch.empty_like(source)
    seconds = []
    for _ in range(6):
        synchronize()
        start = time.perf_counter()
        target.copy_(source)
        synchronize()
        seconds.append(time.perf_counter() - start)
    return found | {"copy_gb_per_second": 2 * source.nbytes / min(seconds) / 1e9}


# Training


class StepClock(TrainerCallback):
    """
    Measures the steps of a trainer after the first ones, one step or more.

    Args:
        trainer (`Trainer`):
            The trainer, whose `training_step` is wrapped to count tokens.
        warm_up (`int`):
            Steps before the measured ones.
    """

    def __init__(self, trainer: Trainer, warm_up: int) -> None:
        self.warm_up, self.config = warm_up, trainer_backbone(trainer.model).config
        self.lengths: list[list[torch.Tensor]] = []  # by step, the tokens of each sentence, (S,) by mask
        self.places: list[int] = []  # by step, tokens and padding
        self.start = self.seconds = 0.0
        step = trainer.training_step

        def counted(model: nn.Module, inputs: dict[str, Any], *rest: Any, **kwargs: Any) -> torch.Tensor:
            masks = list(masks_of(inputs))
            self.lengths.append([mask.sum(dim=-1).flatten() for mask in masks])
            self.places.append(sum(mask.numel() for mask in masks))
            return step(model, inputs, *rest, **kwargs)

        trainer.training_step = counted
        trainer.add_callback(self)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock after the warm-up, and stops it after the last step."""
        if state.global_step in (self.warm_up, state.max_steps):
            synchronize()
            self.start, self.seconds = time.perf_counter(), time.perf_counter() - self.start

    def result(self, product_rate: float) -> dict[str, Any]:
        """Returns the rates; `share` is of the product rate, for the layers on real tokens."""
        lengths = torch.cat([part for step in self.lengths[self.warm_up :] for part in step]).double()
        steps = len(self.lengths) - self.warm_up
        tokens, squares = lengths.sum().item(), (lengths**2).sum().item()
        layers, width, inner = (
            getattr(self.config, name) for name in ("num_hidden_layers", "hidden_size", "intermediate_size")
        )
        forward = layers * (tokens * (8 * width**2 + 4 * width * inner) + 4 * width * squares)
        return {
            "steps_per_second": steps / self.seconds,
            "tokens_per_second": tokens / self.seconds,
            "padding": sum(self.places[self.warm_up :]) / tokens - 1,
            "share": 3 * forward / self.seconds / product_rate,
            "peak_mib": peak_mib(),
        }


def masks_of(inputs: Mapping[str, Any]) -> Any:
    """Yields the attention masks of a batch, of each task or of each column of sentences."""
    for name, values in inputs.items():
        if isinstance(values, Mapping):
            yield from masks_of(values)
        elif name.endswith("attention_mask"):
            yield values


def trainer_backbone(model: nn.Module) -> nn.Module:
    """Returns the encoder in a model of this package, of transformers or of sentence-transformers."""
    if isinstance(model, nn.Sequential):  # sentence-transformers
        return next(module for module in model.modules() if isinstance(module, transformers.PreTrainedModel))
    return getattr(model, "backbone", model)


def measure_training(
    bench: Bench, encoder: str, tasks: tuple[str, ...], batch_size: int, build: Builder
) -> dict[str, Any]:
    """Trains on rows of the tasks for some steps, and returns the result of [`StepClock`]."""
    count = (bench.steps + bench.warm_up) * batch_size
    rows = {task: bench.rows(task, count) for task in tasks}
    rate = bench.product_rate()
    trainer = build(bench.setting(encoder, batch_size), rows)
    clock = StepClock(trainer, bench.warm_up)
    free_memory()
    function_of(trainer)()
    return clock.result(rate)


def without_attention_dropout(setting: Setting, rows: Rows) -> Trainer:
    """As [`our_trainer`], without dropout of the attention's weights: the kernel supports none."""
    trainer = our_trainer(setting, rows)
    trainer.model.backbone.config.attention_probs_dropout_prob = 0.0  # decides about padding on a GPU
    for module in trainer.model.modules():
        if "SelfAttention" in type(module).__name__ and isinstance(getattr(module, "dropout", None), nn.Dropout):
            module.dropout.p = 0.0
    return trainer


OURS: dict[str, Builder] = {"ours": our_trainer}
OF_TRANSFORMERS: dict[str, Builder] = {
    "transformers, guide": transformers_trainer,
    "transformers, best": partial(transformers_trainer, **BFLOAT16, **GROUP_BY_LENGTH),
}
OF_SENTENCE_TRANSFORMERS: dict[str, Builder] = {
    "sentence-transformers, guide": sentence_transformers_trainer,
    "sentence-transformers, best": partial(sentence_transformers_trainer, **BFLOAT16, dataloader_num_workers=4),
}
"""
A peer at its best: bfloat16, and rows of similar length where the library has it. The collator of
sentence-transformers tokenizes, so that four processes load its batches.
"""
TRAINERS: dict[str, dict[str, Builder]] = {
    "sts": OURS | {"ours, no attention dropout": without_attention_dropout} | OF_SENTENCE_TRANSFORMERS,
    "sst": OURS | OF_TRANSFORMERS,
    "para": OURS | OF_TRANSFORMERS,
}


def training_measures(
    bench: Bench, encoder: str, tasks: tuple[str, ...], sizes: tuple[int, ...]
) -> dict[str, Measure]:
    """Returns the measurements of training an encoder by name, contenders of one task and batch size in turn."""
    return {
        f"{encoder} {task} {size} {name}": partial(measure_training, bench, encoder, (task,), size, build)
        for task in tasks
        for size in sizes
        for name, build in TRAINERS[task].items()
        if build is not without_attention_dropout
        or not encoder.startswith("mpnet")  # the kernel has no relative positions
    }


# Pair scoring


def measure_scoring(
    bench: Bench, encoder: str, build: Callable[..., Callable[[], Any]], bf16: bool, **options: Any
) -> dict[str, Any]:
    """Scores pairs of Quora's train rows once after a warm-up, and returns pairs a second."""
    rows = bench.rows("para", bench.pairs if encoder == "minilm" else bench.pairs // 2, repeat=False)
    setting = bench.setting(encoder, batch_size=1, bf16=bf16)
    build(setting, {"para": rows.select(range(min(1024, len(rows))))}, **options)()
    score = build(setting, {"para": rows}, **options)
    free_memory()
    start = time.perf_counter()
    scores = score()  # on the CPU, so the GPU has finished
    seconds = time.perf_counter() - start
    return {"pairs_per_second": len(rows) / seconds, "mean_score": float(scores.mean()), "peak_mib": peak_mib()}


def scoring_measures(bench: Bench, encoder: str) -> dict[str, Measure]:
    """Returns the measurements of pair scoring with an encoder by name."""
    measures: dict[str, Measure] = {}

    def add(name: str, build: Callable[..., Callable[[], Any]], bf16: bool, **options: Any) -> None:
        measures[f"{encoder} {name}"] = partial(measure_scoring, bench, encoder, build, bf16, **options)

    for size in (64, 512):
        add(f"ours {size}", our_scoring, True, batch_size=size)
        add(f"ours, padded {size}", our_scoring, True, batch_size=size, unpad=False)
        add(f"ours, bf16 weights {size}", our_scoring, False, batch_size=size, dtype=torch.bfloat16)
    peer = sentence_transformers_scoring
    add("sentence-transformers, guide 32", peer, False)
    for size in (128, 512):
        add(f"sentence-transformers, best {size}", peer, False, batch_size=size, dtype=torch.bfloat16)
    return measures


# Gradient surgery


def surgery_measures(bench: Bench, encoder: str, sizes: tuple[int, ...]) -> dict[str, Measure]:
    """Returns the measurements of three tasks in each step: gradient surgery of this package, and the plain mean."""
    return {
        f"{encoder} {size} {name}": partial(
            measure_training, bench, encoder, tuple(PAPER_TASKS), size, partial(surgery_trainer, backward=method)
        )
        for size in sizes
        for name, method in {"pcgrad": None, "mean": mean_backward}.items()
    }

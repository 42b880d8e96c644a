"""
Multitask runs small enough to be compared number by number, in one process or in several.

Three tasks on an encoder without dropout. Each step sees all rows of all tasks, in whatever order and parts, and at
each of three steps every two tasks' gradients oppose each other.

As a program it makes the runs of `RUNS_OF_TWO`, each process recording what it saw in a file of its own:

    torchrun --nproc_per_node 2 multitask_runs.py FOLDER
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, TrainerCallback

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask
from extrabert_hf.data.collators import DataCollatorForMultiTask, DataCollatorForSentences
from extrabert_hf.data.multitask import MultiTaskDataset
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.gradient_surgery import (
    AGGREGATORS,
    TORCHJD_WEIGHTINGS,
    average_gradients,
    get_aggregator,
)
from extrabert_hf.training.loss_weighting import LOSS_WEIGHTINGS
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.trainer_parts import metrics_for
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

ROWS = 8  # of each task, and of a step
EVAL_ROWS = 7  # which two processes cannot share evenly

ENCODER = {
    "vocab_size": 99,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 48,
    "attention_probs_dropout_prob": 0.0,
}
TASKS = {  # a pooling each: of all tasks only `sst` has a gradient of the encoder's own pooler
    "sst": {"head": "sentiment", "pooling": "pooler"},
    "para": {"head": "paraphrase", "pooling": "mean"},
    "sts": {"head": "similarity", "pooling": "multiplicative"},
}
LABELS = {"sst": lambda row: row % 5, "para": lambda row: row % 2, "sts": lambda row: row % 6 * 1.0}

ALL_AGGREGATORS = [*AGGREGATORS, *TORCHJD_WEIGHTINGS]
WEIGHTED = {name: {"loss_weighting": name, "aggregator": "sum"} for name in LOSS_WEIGHTINGS}
TWO = {"per_device_train_batch_size": 4}
TWO_ACCUMULATED = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "data_seed": 5}
RUNS_OF_TWO = {
    **{f"{name}, two processes": TWO | {"aggregator": name} for name in ALL_AGGREGATORS},
    **{f"{name}, two processes, accumulated": TWO_ACCUMULATED | {"aggregator": name} for name in ALL_AGGREGATORS},
    **{f"{name}, two processes": TWO | options for name, options in WEIGHTED.items()},
    **{f"{name}, two processes, accumulated": TWO_ACCUMULATED | options for name, options in WEIGHTED.items()},
    "activation checkpointing": TWO | {"activation_checkpointing": True},
    "frozen layers": TWO | {"frozen": ("backbone.embeddings", "backbone.encoder.layer.0")},
    "frozen encoder": TWO | {"frozen": ("backbone.",)},
    "one task a step": TWO | {"mixing": "proportional"},
}


def is_installed(aggregator: str) -> bool:
    """Whether what an aggregator of torchjd needs is there."""
    try:
        get_aggregator(aggregator)
    except InputError:
        return aggregator in AGGREGATORS
    return True


def make_model(generator: torch.Generator, dropout: float = 0.0) -> ExtraBertForMultiTask:
    """Makes the model, its weights large enough for all tasks to pull with like force."""
    encoder = BertConfig(**ENCODER, hidden_dropout_prob=dropout)
    torch.manual_seed(0)
    model = ExtraBertForMultiTask(
        ExtraBertConfig(backbone_config=encoder, tasks=TASKS, head_dropout=dropout, feed_forward_depth=1)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def make_rows(generator: torch.Generator, count: int) -> dict[str, Dataset]:
    """Makes rows of random tokens; all tasks have the same sentences, and labels that disagree."""

    def sentence() -> list[int]:
        length = int(torch.randint(3, 20, (1,), generator=generator))
        return torch.randint(5, 99, (length,), generator=generator).tolist()

    pairs = [[sentence(), sentence()] for _ in range(count)]

    def rows(task: str) -> list[dict[str, Any]]:
        return [
            {"input_ids": pair[0] if task == "sst" else pair, "labels": LABELS[task](row), "length": len(pair[0])}
            for row, pair in enumerate(pairs)
        ]

    return {task: Dataset.from_list(rows(task)) for task in TASKS}


def make_trainer(
    output_dir: Path,
    *,
    trainer_class: type[MultiTaskTrainer] = MultiTaskTrainer,
    rows: int = ROWS,
    dropout: float = 0.0,
    frozen: tuple[str, ...] = (),
    **arguments: Any,
) -> MultiTaskTrainer:
    """Makes a trainer; `arguments` are fields of `MultiTaskArguments` or of `ExtraBertTrainingArguments`."""
    generator = torch.Generator().manual_seed(223)  # found by search: with few others do conflicts last three steps
    model = make_model(generator, dropout)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen or ("none",)))
    train = make_rows(generator, rows)
    of_multitask = {field.name for field in dataclasses.fields(MultiTaskArguments)} & arguments.keys()
    multitask = MultiTaskArguments(**{name: arguments.pop(name) for name in of_multitask})
    defaults = {
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": ROWS,
        "max_steps": 3,
        "optim": "sgd",  # moves by the gradient as it is: Adam blows up the rounding of the smallest
        "learning_rate": 0.01,
        "head_learning_rate": None,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
    }
    return trainer_class(
        model=model,
        args=ExtraBertTrainingArguments(output_dir=str(output_dir), **defaults | arguments),
        tasks=PAPER_TASKS,
        multitask=multitask,
        train_dataset=MultiTaskDataset({task: train[task] for task in multitask.trained}),
        eval_dataset=make_rows(generator, EVAL_ROWS),
        metrics_of={task: metrics_for(PAPER_TASKS[task]) for task in TASKS},
        data_collator=DataCollatorForMultiTask(DataCollatorForSentences(pad_token_id=0)),
    )


class Recorder(TrainerCallback):
    """Notes each parameter's gradient when the optimizer is about to use it."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, torch.Tensor | None]] = []  # by step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **kwargs: Any) -> None:
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        self.gradients.append({name: g if g is None else g.clone() for name, g in gradients.items()})


def record(trainer: MultiTaskTrainer) -> dict[str, Any]:
    """Trains; gives the gradients of each step, the weights before and after, the losses and the conflicts."""
    recorder = Recorder()
    trainer.add_callback(recorder)
    start = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    return {
        "gradients": recorder.gradients,
        "start": start,
        "weights": trainer.model.state_dict(),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "conflicts": [tuple(row) for row in trainer.conflicts.rows],
        "weighting": None if trainer.weighting is None else trainer.weighting.state_dict(),
    }


def average_what_one_process_lacks(rank: int) -> list[list[torch.Tensor | None]]:
    """Averages gradients of 1 and 3 of the two processes, then some that one of them or both do not have."""
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    gradients = [[torch.full((2,), 1.0 + 2 * rank), torch.ones(2) if rank == 1 else None, None]]
    average_gradients(parameters, gradients)
    return gradients


def main(folder: Path) -> None:
    """Makes the runs of two processes."""
    torch.set_num_threads(1)
    recorded: dict[str, Any] = {}
    for name, options in RUNS_OF_TWO.items():
        if is_installed(options.get("aggregator", "pcgrad")):
            trainer = make_trainer(folder / "run", **options)
            recorded[name] = record(trainer)
    recorded["scores"] = trainer.evaluate()
    rank = trainer.args.process_index
    recorded["averaged"] = average_what_one_process_lacks(rank)
    torch.save(recorded, folder / f"process-{rank}.pt")


def interrupt_training(trainer, task):
    """Trains until the first loss of a task is due, where the user interrupts."""
    compute = trainer.compute_loss

    def interrupting(model, inputs, *args):
        if inputs["task"] == task:
            raise KeyboardInterrupt
        return compute(model, inputs, *args)

    trainer.compute_loss = interrupting
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.compute_loss = compute


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The checks that `benchmarks/gpu.sh` makes: logits and gradients without padding, gradient surgery, precisions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import set_seed

from benchmarks.gpu_measures import Bench
from benchmarks.measures import function_of
from benchmarks.surgery import surgery_trainer, whole_vector_pcgrad
from benchmarks.workloads import MAX_LENGTH, device_of_work
from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.models import unpadding_extrabert
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.tasks import PAPER_TASKS


class CountedKernel:
    """Counts the calls of torch's variable-length attention kernel inside a `with` block."""

    def __enter__(self) -> "CountedKernel":
        self.calls, self.kernel = 0, unpadding_extrabert.varlen_attn

        def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
            self.calls += 1
            return self.kernel(*args, **kwargs)

        if self.kernel is not None:
            unpadding_extrabert.varlen_attn = counted
        return self

    def __exit__(self, *error: object) -> None:
        unpadding_extrabert.varlen_attn = self.kernel


def largest(values: torch.Tensor) -> float:
    """Returns the largest absolute value."""
    return values.abs().max().item()


def measure_correctness(bench: Bench, encoder: str, task: str = "sts") -> dict[str, Any]:
    """
    Compares logits and gradients of one batch, with and without padding, in each precision.

    Returns:
        `dict`: largest differences of the logits; `*_gradient` is the norm of the difference of the gradients over the
        norm of the padded gradient; `varlen_calls` are the calls of the kernel in one forward pass.
    """
    set_seed(0)
    model, tokenizer = build_model(bench.encoder(encoder), PAPER_TASKS[task], pooling="multiplicative")
    tokenizer.model_max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    rows = tokenize_dataset(bench.rows(task, 48), tokenizer)
    batch = DataCollatorForSentences(tokenizer.pad_token_id)(list(rows))
    model.eval()  # no dropout
    model.unpad = False
    with torch.no_grad():
        reference = model(**batch).logits
    device = device_of_work()
    model.to(device)
    batch = {name: values.to(device) for name, values in batch.items()}
    found: dict[str, Any] = {"largest_logit": largest(reference)}
    logits, gradients = {}, {}
    precisions: dict[str, torch.dtype | None] = {"float32": None, "bf16": torch.bfloat16}
    if device.type != "cpu":
        precisions["fp16"] = torch.float16  # minutes on a CPU
    for precision, dtype in precisions.items():
        for unpad in (False, True):
            name = f"{precision}_{'unpadded' if unpad else 'padded'}"
            model.unpad = unpad
            model.zero_grad()
            with CountedKernel() as kernel, torch.autocast(device.type, dtype, enabled=dtype is not None):
                output = model(**batch)
                found[f"{name}_is_padded"] = model.why_padded() is not None
            output.loss.backward()
            logits[name] = output.logits.detach().float().cpu()
            gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            found[f"{name}_against_cpu"] = largest(logits[name] - reference)
            found[f"{name}_varlen_calls"] = kernel.calls
        padded, unpadded = f"{precision}_padded", f"{precision}_unpadded"
        found[f"{precision}_unpadded_against_padded"] = largest(logits[unpadded] - logits[padded])
        difference = gradients[unpadded] - gradients[padded]
        found[f"{precision}_gradient"] = (difference.norm() / gradients[padded].norm()).item()
    found["backbone_layers"] = model.backbone.config.num_hidden_layers
    return found


def compare_surgery(bench: Bench, shift: float) -> dict[str, Any]:
    """
    Compares the encoder's update of this package in float32 with PCGrad on whole vectors, for two tasks and one step.

    Args:
        bench ([`Bench`]):
            What the measurements share.
        shift (`float`):
            Is added to the labels of the similarity task; one of -20 and 20 makes the tasks conflict.
    """
    rows = {task: bench.rows(task, 8) for task in ("sst", "sts")}
    updates, cosines = [], []
    for method in (None, whole_vector_pcgrad):
        trainer = surgery_trainer(bench.setting("minilm", 8, bf16=False), rows, method)
        for part in (trainer.model.poolings, trainer.model.heads):
            part.requires_grad_(False)
        for module in trainer.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        step, found = trainer.training_step, []

        def record(model: nn.Module, inputs: dict, *rest: Any, step: Callable = step, found: list = found) -> Any:
            inputs["sts"]["labels"] += shift
            loss = step(model, inputs, *rest)
            found += [parameter.grad.flatten().clone() for parameter in model.parameters() if parameter.requires_grad]
            return loss

        trainer.training_step = record
        function_of(trainer)()
        updates.append(torch.cat(found))
        cosines += [cosine for *_, cosine in trainer.conflicts.rows]
    ours, whole = updates[0], updates[1] * 2  # the reference implementation takes the mean of two tasks
    relative = (largest(ours - whole) / largest(whole)) if ours.numel() else float("nan")
    if not relative <= 1e-4:
        raise AssertionError(f"the updates differ by {relative:.1e} of the largest entry, the cosine is {cosines}")
    return {"cosine": cosines[0], "largest_relative_difference": relative}


def check_precision(bench: Bench, encoder: str = "minilm", **fields: Any) -> dict[str, Any]:
    """Trains three tasks for a few steps in a precision; all losses and weights must be finite, and weights move."""
    if fields.get("fp16") and not torch.cuda.is_available():
        return {"skipped": "fp16 needs a GPU"}
    rows = {task: bench.rows(task, 12 * 8) for task in PAPER_TASKS}  # a gradient scaler skips the first steps
    trainer = surgery_trainer(bench.setting(encoder, 8, bf16=False), rows, **fields)
    before = {name: weights.detach().cpu().clone() for name, weights in trainer.model.named_parameters()}
    output = function_of(trainer)()
    after = {name: weights.detach().cpu() for name, weights in trainer.model.named_parameters()}
    scaler = trainer.accelerator.scaler
    found = {
        "steps": output.global_step,
        "loss": output.training_loss,
        "moved": sum(bool((after[name] != before[name]).any()) for name in after) / len(after),
        "gradient_scale": scaler.get_scale() if scaler is not None else None,
        "cosines": [round(cosine, 4) for *_, cosine in trainer.conflicts.rows[-3:]],
    }
    is_finite = all(bool(weights.isfinite().all()) for weights in after.values())
    if not is_finite or found["loss"] != found["loss"] or found["moved"] < 0.9:
        raise AssertionError(f"training under {fields} fails, finite weights: {is_finite}, {found}")
    return found

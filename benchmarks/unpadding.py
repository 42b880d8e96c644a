"""
Measures the gain of encoding without padding for each kind of encoder, at base size with random weights.

    python -m benchmarks.unpadding path/to/cs224n/data --kinds mpnet deberta-v2 --tasks sts

Both ways take turns on the same batches of similar length, as in training. Time is the process's own time on the CPU,
so that other processes on the machine change little. The table goes to the terminal.
"""

import argparse
import time
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader
from transformers import (
    AlbertConfig,
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
)

from benchmarks.runner import load_rows
from benchmarks.workloads import quiet_libraries
from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.samplers import LengthBucketSampler
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.machine import choose_bf16, keep_freed_memory
from extrabert_hf.models import MODEL_FOR_HEAD, ExtraBertConfig, ExtraBertPreTrainedModel
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.tasks import PAPER_TASKS

DISENTANGLED = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}
KINDS = {
    "albert": AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "bert": BertConfig(),
    "deberta": DebertaConfig(**DISENTANGLED, type_vocab_size=0),
    "deberta-v2": DebertaV2Config(  # as microsoft/deberta-v3-base, with a smaller vocabulary
        **DISENTANGLED,
        **{"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072},
        **{"type_vocab_size": 0, "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True},
        vocab_size=30522,
    ),
    "modernbert": ModernBertConfig(),
    "mpnet": MPNetConfig(),
}
"""Encoders of base size by `model_type`."""

Batch = dict[str, torch.Tensor]


def batches_of(task: str, data: str, batch_size: int, count: int) -> list[Batch]:
    """Returns `count` batches of the first epoch of a task, tokenized for MiniLM: evenly spread over the lengths."""
    _, tokenizer = build_model("minilm", PAPER_TASKS[task])
    tokenizer.model_max_length = 128
    rows = tokenize_dataset(load_rows(PAPER_TASKS[task], data, 10**6, repeat=False), tokenizer)
    collate = DataCollatorForSentences(tokenizer.pad_token_id)
    sampler = LengthBucketSampler(rows["length"], batch_size, seed=0)
    epoch = list(DataLoader(rows, batch_size, sampler=sampler, collate_fn=collate))
    epoch.sort(key=lambda batch: batch["input_ids"].shape[-1])
    return [epoch[(2 * number + 1) * len(epoch) // (2 * count)] for number in range(count)]


def seconds(model: ExtraBertPreTrainedModel, batch: Batch, *, train: bool, bf16: bool) -> float:
    """Returns the CPU time of a forward pass, or with `train` of a forward and a backward pass."""
    start = time.process_time()
    with torch.set_grad_enabled(train), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(**batch).loss
    if train:
        loss.backward()
    return time.process_time() - start


def gains(encoder: PreTrainedConfig, task: str, batches: Sequence[Batch], *, bf16: bool) -> tuple[float, float]:
    """Returns the padded over the unpadded time, for training and for evaluation; the first batch also warms up."""
    config = ExtraBertConfig(backbone_config=encoder.to_dict(), pooling="mean")
    model = MODEL_FOR_HEAD[PAPER_TASKS[task].head](config)
    ratios = []
    for train in (True, False):
        model.train(train)
        spent = {True: 0.0, False: 0.0}
        for number, batch in enumerate([batches[0], *batches]):
            for unpad in (number % 2 == 0, number % 2 == 1):
                model.unpad = unpad
                model.zero_grad()
                taken = seconds(model, batch, train=train, bf16=bf16)
                spent[unpad] += taken if number else 0.0
        ratios.append(spent[False] / spent[True])
    return ratios[0], ratios[1]


def main() -> None:
    """Prints one line for each kind and task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with the files of the tasks, or 'sample'")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--tasks", nargs="+", choices=PAPER_TASKS, default=["sts"])
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=8)
    arguments = parser.parse_args()
    keep_freed_memory()
    bf16, _ = choose_bf16()
    lines = ["| encoder | task | padded tokens / tokens | train | evaluate |", "| --- | --- | --- | --- | --- |"]
    for task in arguments.tasks:
        with quiet_libraries():
            batches = batches_of(task, arguments.data, arguments.batch_size, arguments.batches)
        masks = [batch["attention_mask"] for batch in batches]
        padding = sum(mask.numel() for mask in masks) / sum(int(mask.sum()) for mask in masks)
        for kind in arguments.kinds:
            train, evaluate = gains(KINDS[kind], task, batches, bf16=bf16)
            lines.append(f"| {kind} | {task} | {padding:.2f} | {train:.2f} | {evaluate:.2f} |")
            print(lines[-1], flush=True)  # noqa: T201
    print("bfloat16 autocast" if bf16 else "float32", *lines, sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()

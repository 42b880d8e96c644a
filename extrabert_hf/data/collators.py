"""Collates tokenized rows into padded batches, of one task or of several."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from extrabert_hf.errors import InputError, shorten

EXTRA_COLUMNS = ("weights", "teacher_logits")
"""Optional columns of a training row: the weight of its loss, and the logits of its teachers."""


@dataclass
class DataCollatorForSentences:
    """
    Pads the sentences of a batch to the length of the longest one; a batch of pairs is one tensor `(batch, 2, seq)`.

    Args:
        pad_token_id (`int`):
            Id of the tokenizer's padding token.
        pad_to_multiple_of (`int`, *optional*):
            Rounds `seq` up to a multiple of this number, such as 8 for tensor cores. `torch.compile` then compiles
            fewer shapes.

    Example:
        >>> collate = DataCollatorForSentences(pad_token_id=0)
        >>> batch = collate([{"input_ids": [[5, 6, 7], [8]], "labels": 1.5}])
        >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist(), batch["labels"].tolist()
        ([[[5, 6, 7], [8, 0, 0]]], [[[1, 1, 1], [1, 0, 0]]], [1.5])
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pad_token_id, int):
            raise InputError(
                "`pad_token_id` must be the `pad_token_id` of the tokenizer, a whole number, got "
                f"{shorten(repr(self.pad_token_id))}."
            )

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates rows with `input_ids` and optional `labels` and [`EXTRA_COLUMNS`] into tensors by column."""
        is_pair = isinstance(rows[0]["input_ids"][0], list)
        sentences = (
            [ids for row in rows for ids in row["input_ids"]] if is_pair else [row["input_ids"] for row in rows]
        )
        batch = self.pad(sentences)
        if is_pair:
            batch = {name: tensor.view(len(rows), 2, -1) for name, tensor in batch.items()}  # (B, 2, T)
        if "labels" in rows[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in rows])  # (B,), int64 or float32
        for name in EXTRA_COLUMNS:
            if name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows])  # (B,) and (B, C), float32
        return batch

    def pad(self, sentences: list[list[int]]) -> dict[str, torch.Tensor]:
        """Pads sentences of token ids: returns `input_ids` and `attention_mask` of shape `(sentences, seq)`."""
        tensors = [torch.tensor(ids) for ids in sentences]
        lengths = torch.tensor([len(ids) for ids in sentences])
        input_ids = pad_sequence(tensors, batch_first=True, padding_value=self.pad_token_id)  # (N, T)
        if self.pad_to_multiple_of is not None:
            missing = -input_ids.shape[1] % self.pad_to_multiple_of
            input_ids = torch.nn.functional.pad(input_ids, (0, missing), value=self.pad_token_id)
        attention_mask = (torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)).long()  # (N, T)
        return {"input_ids": input_ids, "attention_mask": attention_mask}


@dataclass
class DataCollatorForMultiTask:
    """
    Collates items of [`MultiTaskDataset`] into one batch for each task.

    Args:
        collator ([`DataCollatorForSentences`]):
            Collates the rows of one task.

    Example:
        >>> collate = DataCollatorForMultiTask(DataCollatorForSentences(pad_token_id=0))
        >>> items = [{"sst": [{"input_ids": [5, 6]}], "sts": [{"input_ids": [[7], [8, 9]]}]}] * 3
        >>> {task: tuple(batch["input_ids"].shape) for task, batch in collate(items).items()}
        {'sst': (3, 2), 'sts': (3, 2, 2)}
    """

    collator: DataCollatorForSentences

    def __post_init__(self) -> None:
        if not callable(self.collator):
            raise InputError(f"`collator` must be a DataCollatorForSentences, got {shorten(repr(self.collator))}.")

    def __call__(self, items: list[dict[str, list[dict[str, Any]]]]) -> dict[str, dict[str, torch.Tensor]]:
        """Collates items of the same tasks: returns a batch by task, with rows in the order of the items."""
        tasks = items[0]
        for item in items:
            if item.keys() != tasks.keys():
                raise InputError(f"`items` must all hold the same tasks, got {list(tasks)} and {list(item)}.")
        return {task: self.collator([row for item in items for row in item[task]]) for task in tasks}

"""Attention pooling for sentence-transformers. This file is copied into exported folders."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class AttentionPooling(nn.Module):
    r"""
    Averages the token states of a sentence, each weighted by its match with a query: `softmax_i(q . h_i)`.

    Args:
        hidden_size (`int`):
            Width `d` of the token states.
        learned (`bool`):
            Whether `q` is a parameter. Otherwise `q` is the state of the first token, divided by `sqrt(d)`.
    """

    def __init__(self, hidden_size: int, learned: bool) -> None:
        super().__init__()
        self.hidden_size, self.learned = hidden_size, learned
        self.query = nn.Parameter(torch.zeros(hidden_size)) if learned else None

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Adds `sentence_embedding` `(batch, d)` to `token_embeddings` `(batch, seq, d)` and `attention_mask`."""
        states, mask = features["token_embeddings"], features["attention_mask"]
        query = self.query.expand(len(states), -1) if self.learned else states[:, 0] / self.hidden_size**0.5  # (B, d)
        scores = torch.einsum("bd,btd->bt", query, states).float()
        weights = scores.masked_fill(mask == 0, torch.finfo(torch.float32).min).softmax(dim=-1).to(states.dtype)
        features["sentence_embedding"] = torch.einsum("bt,btd->bd", weights, states)
        return features

    def get_embedding_dimension(self) -> int:
        """Returns `d`."""
        return self.hidden_size

    def save(self, output_path: str, safe_serialization: bool = True) -> None:
        """Writes `config.json` and, if `q` is learned, `model.safetensors`."""
        config = {"hidden_size": self.hidden_size, "learned": self.learned}
        Path(output_path, "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if self.learned:
            save_file(self.state_dict(), Path(output_path, "model.safetensors"))

    @staticmethod
    def load(input_path: str) -> "AttentionPooling":
        """Loads a module that [`save`] wrote."""
        module = AttentionPooling(**json.loads(Path(input_path, "config.json").read_text(encoding="utf-8")))
        if module.learned:
            module.load_state_dict(load_file(Path(input_path, "model.safetensors")))
        return module

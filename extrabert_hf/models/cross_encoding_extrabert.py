"""Inputs of a cross-encoder: both sentences of a pair in one sequence, so that each token attends to both."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class CrossEncoderInputs:
    """
    Pairs `(B, 2, T)` as sequences `[CLS] first [SEP] second [SEP]`; the longest of the batch has `L` tokens.

    Args:
        input_ids (`torch.Tensor` of shape `(B, L)`):
            Token ids, padding at the end.
        attention_mask (`torch.Tensor` of shape `(B, L)`):
            1 for a token, 0 for padding.
        token_type_ids (`torch.Tensor` of shape `(B, L)`):
            0 for a token of the first sentence, 1 for a token of the second.
        places (`torch.Tensor` of shape `(B, L)`):
            Index of each token in the `2 T` tokens of its pair.

    Example:
        >>> ids = torch.tensor([[[101, 7, 102, 0], [101, 8, 9, 102]]])
        >>> pairs = CrossEncoderInputs.of(ids, (ids != 0).long())
        >>> pairs.input_ids.tolist(), pairs.token_type_ids.tolist()
        ([[101, 7, 102, 8, 9, 102]], [[0, 0, 0, 1, 1, 1]])
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor
    places: torch.Tensor

    @classmethod
    def of(cls, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> "CrossEncoderInputs":
        """Concatenates the sentences of each pair, without the `[CLS]` token of the second sentence."""
        attention_mask = (attention_mask != 0).long()
        start = attention_mask[:, 1].argmax(dim=1, keepdim=True)  # (B, 1), of left padding too
        kept = torch.stack([attention_mask[:, 0], attention_mask[:, 1].scatter(1, start, 0)], dim=1)
        kept = kept.flatten(1)  # (B, 2T)
        longest = kept.shape[1] if torch.compiler.is_exporting() else int(kept.sum(dim=1).max())
        tokens, padding = kept.cumsum(dim=1), (1 - kept).cumsum(dim=1)
        target = (
            torch.where(kept == 1, tokens, tokens[:, -1:] + padding) - 1
        )  # tokens in their order, padding after them
        numbers = torch.arange(kept.shape[1], device=kept.device).expand_as(kept)
        places = torch.zeros_like(kept).scatter(1, target, numbers)[:, :longest]
        second = (places >= input_ids.shape[-1]).long()
        return cls(input_ids.flatten(1).gather(1, places), kept.gather(1, places), second, places)

    def split(self, values: torch.Tensor, seq: int) -> torch.Tensor:
        """Values of tokens `(B, L)` -> `(B, 2, T)` for `T = seq`; 0 for padding and for the omitted `[CLS]`."""
        return values.new_zeros(values.shape[0], 2 * seq).scatter(1, self.places, values).view(-1, 2, seq)

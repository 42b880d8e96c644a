"""The layout of a batch without padding: all sentences as one sequence, with attention within each sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class UnpaddedBatch:
    """
    Positions of the N tokens of a padded batch `(S, T)` after its S sentences are concatenated, shortest first.

    Args:
        shape (`torch.Size`):
            `(S, T)`.
        places (`torch.Tensor` of shape `(N,)`):
            Index of each token in the flattened padded batch.
        runs (`list[tuple[int, int]]`):
            Number of successive sentences of equal length, and that length in tokens, 1 or more.
        offsets (`torch.Tensor` of shape `(sentences + 1,)`):
            Start of each sentence and end of the last sentence, int32; sentences of 0 tokens are left out.

    Example:
        >>> unpadded = UnpaddedBatch.of(torch.tensor([[1, 1, 1], [1, 0, 0], [1, 0, 0]]))
        >>> unpadded.runs, unpadded.unpad(torch.tensor([[5, 6, 7], [8, 0, 0], [9, 0, 0]])).tolist()
        ([(2, 1), (1, 3)], [[8, 9, 5, 6, 7]])
    """

    shape: torch.Size
    places: torch.Tensor
    runs: list[tuple[int, int]]
    offsets: torch.Tensor

    @classmethod
    def of(cls, attention_mask: torch.Tensor) -> "UnpaddedBatch":
        """Makes the layout from an attention mask `(S, T)`, 0 for padding, on any side."""
        lengths, order = attention_mask.count_nonzero(dim=1).sort(stable=True)  # each (S,), the shortest first
        places = torch.arange(attention_mask.numel(), device=attention_mask.device).view_as(attention_mask)
        counted = lengths.unique_consecutive(return_counts=True)
        runs = [(count, length) for length, count in zip(*(part.tolist() for part in counted), strict=True) if length]
        offsets = functional.pad(lengths[lengths > 0].cumsum(0), (1, 0)).int()
        return cls(attention_mask.shape, places[order][attention_mask[order] != 0], runs, offsets)

    def unpad(self, values: torch.Tensor) -> torch.Tensor:
        """Removes the padding: `(S, T)` -> `(1, N)`."""
        return values.flatten()[self.places].unsqueeze(0)

    def repad(self, states: torch.Tensor) -> torch.Tensor:
        """Restores the padding, with the value 0: `(1, N, d)` -> `(S, T, d)`."""
        padded = states.new_zeros(self.shape.numel(), states.shape[-1])
        return padded.index_copy(0, self.places, states[0]).view(*self.shape, -1)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        masks: Sequence[torch.Tensor | None] | None = None,
        *,
        dropout: float = 0.0,
        scaling: float | None = None,
    ) -> torch.Tensor:
        """
        Computes attention within each sentence, in one call of SDPA for each run.

        Args:
            query (`torch.Tensor` of shape `(N, heads, d)`):
                Queries of the tokens.
            key (`torch.Tensor` of shape `(N, heads, d)`):
                Keys of the tokens.
            value (`torch.Tensor` of shape `(N, heads, d)`):
                Values of the tokens.
            masks (`Sequence[torch.Tensor | None]`, *optional*):
                For each run of sentences of `length` tokens, a tensor that broadcasts to `(count, heads, length,
                length)`: added to the scores, or `False` where a token does not attend to another token.
            dropout (`float`, defaults to 0.0):
                Probability of dropping an attention weight, from 0 to 1.
            scaling (`float`, *optional*):
                Factor on the products of queries and keys; `None` is `d ** -0.5`.

        Returns:
            `torch.Tensor` of shape `(N, heads, d)`.
        """
        sizes = [count * length for count, length in self.runs]
        parts = zip(*(states.split(sizes) for states in (query, key, value)), strict=True)
        attended = [
            functional.scaled_dot_product_attention(
                *(states.unflatten(0, run).transpose(1, 2) for states in part),
                attn_mask=mask,
                dropout_p=dropout,
                scale=scaling,
            )  # (count, heads, length, d)
            .transpose(1, 2)
            .flatten(0, 1)
            for run, part, mask in zip(self.runs, parts, masks or [None] * len(self.runs), strict=True)
        ]
        return torch.cat(attended)

"""
Attention with relative positions on unpadded batches, for encoders whose attention transformers does not let replace.

The module is imported only for such an encoder, because it imports the encoder's code.
"""

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from .unpadded_batch_extrabert import UnpaddedBatch


class UnpaddedMPNetSelfAttention(MPNetSelfAttention):
    """
    MPNet's attention (Song et al. 2020, https://arxiv.org/abs/2004.09297), also for unpadded batches.

    For an unpadded batch, `position_bias` is an [`UnpaddedBatch`] and, for each of its runs, the learned bias
    `(1, heads, length, length)` of the relative positions.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_bias: torch.Tensor | tuple[UnpaddedBatch, list[torch.Tensor]] | None = None,
        output_attentions: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...]:
        """As in transformers; or `(1, N, d)` -> `(1, N, d)`."""
        if not isinstance(position_bias, tuple):
            return super().forward(hidden_states, attention_mask, position_bias, output_attentions, **kwargs)
        unpadded, biases = position_bias
        heads = (self.num_attention_heads, self.attention_head_size)
        query, key, value = (linear(hidden_states[0]).unflatten(-1, heads) for linear in (self.q, self.k, self.v))
        biases = [bias.to(query.dtype) for bias in biases]  # bfloat16 under autocast
        dropout = self.dropout.p if self.training else 0.0
        attended = unpadded.attend(query, key, value, biases, dropout=dropout)  # (N, heads, d)
        return (self.o(attended.flatten(1).unsqueeze(0)),)


REPLACEMENTS = {MPNetSelfAttention: UnpaddedMPNetSelfAttention}
"""Classes of attention in transformers, and the class here that also supports unpadded batches."""


def replace_attention(backbone: PreTrainedModel) -> None:
    """Changes the class of each attention module; weights and the results of padded batches stay as they are."""
    for module in backbone.modules():
        if type(module) in REPLACEMENTS:
            module.__class__ = REPLACEMENTS[type(module)]


def is_replaced(backbone: PreTrainedModel) -> bool:
    """Whether [`replace_attention`] found an attention module."""
    return any(type(module) in REPLACEMENTS.values() for module in backbone.modules())


def encode(backbone: PreTrainedModel, unpadded: UnpaddedBatch, **inputs: torch.Tensor) -> torch.Tensor:
    """
    Computes the token states `(1, N, d)` of an encoder after [`replace_attention`].

    Args:
        backbone (`PreTrainedModel`):
            The encoder.
        unpadded ([`UnpaddedBatch`]):
            Layout of the batch.
        inputs (`torch.Tensor` of shape `(1, N)`):
            `input_ids`, `position_ids` and other inputs of the embeddings.
    """
    states = backbone.embeddings(**inputs)  # (1, N, d)
    longest = unpadded.runs[-1][1]
    bias = backbone.encoder.compute_position_bias(states[:, :longest])  # (1, heads, longest, longest)
    biases = [bias[..., :length, :length] for _, length in unpadded.runs]
    for layer in backbone.encoder.layer:
        states = layer(states, position_bias=(unpadded, biases))[0]
    return states

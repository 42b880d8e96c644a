"""
Attention with relative positions on unpadded batches, for encoders whose attention transformers does not let replace.

The module is imported only for such an encoder, because it imports the encoder's code.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention as DebertaSelfAttention
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention as DebertaV2SelfAttention
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


class UnpaddedDisentangledAttention(nn.Module):
    """
    DeBERTa's attention (He et al. 2021, https://arxiv.org/abs/2006.03654, Section 3.1), also for unpadded batches.

    For an unpadded batch, `relative_pos` is an [`UnpaddedBatch`] and the row of `rel_embeddings` for each pair of
    positions, `(longest, longest)`. `rel_embeddings` `(P, hidden_size)` has the P distances of the batch only: for a
    padded batch, transformers projects the vectors of all distances, and copies them for each sentence.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        output_attentions: bool = False,
        query_states: torch.Tensor | None = None,
        relative_pos: torch.Tensor | tuple[UnpaddedBatch, torch.Tensor] | None = None,
        rel_embeddings: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As in transformers; or `(1, N, d)` -> `(1, N, d)`."""
        if not isinstance(relative_pos, tuple):
            return super().forward(
                hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings
            )
        unpadded, index = relative_pos
        query, key, value = self.projected(hidden_states[0])  # each (N, heads, d)
        scaling = (query.shape[-1] * (1 + len(self.pos_att_type))) ** -0.5
        scores = self.scores_of_positions(query, key, unpadded, index, rel_embeddings)
        masks = [(score * scaling).to(query.dtype) for score in scores]
        dropout = self.dropout.p if self.training else 0.0
        attended = unpadded.attend(query, key, value, masks, dropout=dropout, scaling=scaling)  # (N, heads, d)
        return attended.flatten(1).unsqueeze(0), None

    def scores_of_positions(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        unpadded: UnpaddedBatch,
        index: torch.Tensor,
        rel_embeddings: torch.Tensor,
    ) -> list[torch.Tensor]:
        """
        Returns the scores of content and position for each run, `(count, heads, length, length)`.

        One matrix product scores all tokens with all P distances; each pair of tokens then gets the score of its
        distance.
        """
        distances = self.pos_dropout(rel_embeddings)  # (P, hidden_size)
        heads = (self.num_attention_heads, -1)
        scores: list[Any] = [0] * len(unpadded.runs)
        for kind, states in (("c2p", query), ("p2c", key)):
            if kind not in self.pos_att_type:
                continue
            vectors = self.projected_distances(kind, distances).unflatten(-1, heads)  # (P, heads, d)
            by_distance = torch.einsum("nhd,phd->hnp", states, vectors)
            parts = by_distance.split([count * length for count, length in unpadded.runs], dim=1)
            for number, (run, part) in enumerate(zip(unpadded.runs, parts, strict=True)):
                rows = index[: run[1], : run[1]] if kind == "c2p" else index[: run[1], : run[1]].T
                part = part.unflatten(1, run)  # (heads, count, length, P)
                score = part.gather(-1, rows.expand(*part.shape[:2], -1, -1)).transpose(0, 1)
                scores[number] = scores[number] + (score if kind == "c2p" else score.mT)
        return scores


class UnpaddedDebertaSelfAttention(UnpaddedDisentangledAttention, DebertaSelfAttention):
    """The attention of the first version of DeBERTa."""

    def projected(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`(N, hidden_size)` -> queries, keys and values, each `(N, heads, d)`."""
        query, key, value = self.in_proj(states).unflatten(-1, (self.num_attention_heads, -1)).chunk(3, dim=-1)
        biases = (bias.view(self.num_attention_heads, -1) for bias in (self.q_bias, self.v_bias))
        return query + next(biases), key, value + next(biases)

    def projected_distances(self, kind: str, distances: torch.Tensor) -> torch.Tensor:
        """`(P, hidden_size)` -> keys, or for the kind `"p2c"` queries, `(P, heads * d)`."""
        return (self.pos_proj if kind == "c2p" else self.pos_q_proj)(distances)


class UnpaddedDebertaV2SelfAttention(UnpaddedDisentangledAttention, DebertaV2SelfAttention):
    """The attention of DeBERTa-v2 and DeBERTa-v3."""

    def projected(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`(N, hidden_size)` -> queries, keys and values, each `(N, heads, d)`."""
        linears = (self.query_proj, self.key_proj, self.value_proj)
        return tuple(linear(states).unflatten(-1, (self.num_attention_heads, -1)) for linear in linears)

    def projected_distances(self, kind: str, distances: torch.Tensor) -> torch.Tensor:
        """`(P, hidden_size)` -> keys, or for the kind `"p2c"` queries, `(P, heads * d)`."""
        if self.share_att_key:
            return (self.key_proj if kind == "c2p" else self.query_proj)(distances)
        return (self.pos_key_proj if kind == "c2p" else self.pos_query_proj)(distances)


REPLACEMENTS = {
    DebertaSelfAttention: UnpaddedDebertaSelfAttention,
    DebertaV2SelfAttention: UnpaddedDebertaV2SelfAttention,
    MPNetSelfAttention: UnpaddedMPNetSelfAttention,
}
"""Classes of attention in transformers, and the class here that also supports unpadded batches."""


def replace_attention(backbone: PreTrainedModel) -> None:
    """
    Changes the class of each attention module; weights and the results of padded batches stay as they are.

    Does nothing for rare forms of DeBERTa: with a convolution (v2-xlarge), with talking heads, or without relative
    positions.
    """
    config = backbone.config
    if config.model_type != "mpnet":
        kinds = sorted(config.pos_att_type or ()) if config.relative_attention else []
        if kinds not in (["c2p"], ["p2c"], ["c2p", "p2c"]):
            return
        if getattr(config, "conv_kernel_size", 0) or getattr(config, "talking_head", False):
            return
    for module in backbone.modules():
        if type(module) in REPLACEMENTS:
            module.__class__ = REPLACEMENTS[type(module)]


def is_replaced(backbone: PreTrainedModel) -> bool:
    """Whether [`replace_attention`] changed the attention of an encoder."""
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
    positions = _positions(backbone.encoder, unpadded, states[:, : unpadded.runs[-1][1]])
    for layer in backbone.encoder.layer:
        states = layer(states, None, **positions)[0]
    return states


def _positions(encoder: nn.Module, unpadded: UnpaddedBatch, longest: torch.Tensor) -> dict[str, Any]:
    """Returns the positions that each layer gets. `longest` has the shape `(1, length of the longest run, d)`."""
    if hasattr(encoder, "compute_position_bias"):  # MPNet
        bias = encoder.compute_position_bias(longest)  # (1, heads, longest, longest)
        return {"position_bias": (unpadded, [bias[..., :length, :length] for _, length in unpadded.runs])}
    distances, embeddings = encoder.get_rel_pos(longest)[0], encoder.get_rel_embedding()
    span = len(embeddings) // 2  # row `span` is for the distance 0
    largest = min(int(distances.max()), span)
    near = embeddings[span - largest : span + largest + 1]  # (P, hidden_size)
    return {"relative_pos": (unpadded, (distances + largest).clamp(0, len(near) - 1)), "rel_embeddings": near}

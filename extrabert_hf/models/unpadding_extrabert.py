"""Encodes a batch without padding: as one sequence with attention within each sentence, or one length at a time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # an older torch
    varlen_attn = None

UNPADDED = "extrabert_unpadded"
"""Name of the attention implementation: `"sdpa"` that also accepts an [`UnpaddedBatch`]."""

COUNT_FROM_PADDING = ("camembert", "roberta", "xlm-roberta")
"""Encoders (`model_type`) whose position ids start after the id of the padding token."""

UNPADDABLE = ("bert", "distilbert", "electra", *COUNT_FROM_PADDING)
"""Encoders (`model_type`) whose attention can be replaced and which accept `position_ids`."""


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


def unpadded_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    unpadded: UnpaddedBatch | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Computes attention within each sentence, in one call for all sentences of equal length.

    The arguments and the result are those of an attention function of transformers. The encoder passes on the argument
    `unpadded`. Without `unpadded`, the function is plain SDPA, or returns the attention weights `(S, heads, T, T)` too
    if the encoder passes on `output_attentions=True`.
    """
    if unpadded is None and kwargs.get("output_attentions"):
        return _attention_with_weights(query, key, value, attention_mask, dropout, scaling)
    if unpadded is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    tokens = [states[0].transpose(0, 1) for states in (query, key, value)]  # each (N, heads, d)
    if not dropout and _fits_kernel(query, scaling):
        longest = unpadded.runs[-1][1]
        attended = varlen_attn(tokens[0], tokens[1], tokens[2], unpadded.offsets, unpadded.offsets, longest, longest)
        return attended.unsqueeze(0), None
    parts = zip(*(states.split([count * length for count, length in unpadded.runs]) for states in tokens), strict=True)
    attended = [
        functional.scaled_dot_product_attention(
            *(states.unflatten(0, run).transpose(1, 2) for states in part), dropout_p=dropout, scale=scaling
        )  # (count, heads, length, d)
        .transpose(1, 2)
        .flatten(0, 1)
        for run, part in zip(unpadded.runs, parts, strict=True)
    ]
    return torch.cat(attended).unsqueeze(0), None  # (1, N, heads, d)


def _attention_with_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float,
    scaling: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The attention of `(S, heads, T, d)` that SDPA computes, with its weights."""
    scores = (
        query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    )  # (S, heads, T, T)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = functional.dropout(scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype), dropout)
    return (weights @ value).transpose(1, 2), weights


def _fits_kernel(query: torch.Tensor, scaling: float | None) -> bool:
    """Whether torch's variable-length attention kernel supports a query `(1, heads, N, d)` like this one."""
    width = query.shape[-1]
    return (
        varlen_attn is not None
        and query.is_cuda
        and torch.cuda.get_device_capability(query.device) >= (8, 0)  # as FlashAttention requires
        and query.dtype in (torch.float16, torch.bfloat16)
        and width % 8 == 0
        and scaling in (None, width**-0.5)
    )


AttentionInterface.register(UNPADDED, unpadded_attention)
AttentionMaskInterface.register(UNPADDED, sdpa_mask)


def enable_unpadding(backbone: PreTrainedModel) -> None:
    """Sets the attention that supports unpadded batches, if the encoder is one of [`UNPADDABLE`] and uses SDPA."""
    if backbone.config.model_type in UNPADDABLE and backbone.config._attn_implementation == "sdpa":
        backbone.set_attn_implementation(UNPADDED)


def encode_unpadded(
    backbone: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor, **token_inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Encodes padded sentences without computation for the padding.

    Args:
        backbone (`PreTrainedModel`):
            An encoder after [`enable_unpadding`].
        input_ids (`torch.Tensor` of shape `(S, T)`):
            Token ids.
        attention_mask (`torch.Tensor` of shape `(S, T)`):
            1 for a token, 0 for padding.
        token_inputs (`torch.Tensor` of shape `(S, T)`):
            Other inputs of the encoder with one value per token, such as `token_type_ids`.

    Returns:
        `tuple[torch.Tensor, torch.Tensor | None]`: token states `(S, T, d)`, 0 for padding, and the output `(S, d)` of
        the encoder's pooler, or `None` without a pooler.
    """
    unpadded = UnpaddedBatch.of(attention_mask)
    if backbone.config.model_type in COUNT_FROM_PADDING:
        is_token = input_ids != backbone.config.pad_token_id
        positions = is_token.cumsum(dim=1) * is_token + backbone.config.pad_token_id
    else:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    pooler = getattr(backbone, "pooler", None)
    inputs = {"input_ids": input_ids, "position_ids": positions, **token_inputs}
    encoded = backbone(**{name: unpadded.unpad(values) for name, values in inputs.items()}, unpadded=unpadded)
    states = unpadded.repad(encoded.last_hidden_state)
    return states, None if pooler is None else pooler(states)


def encode_by_length(
    backbone: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor, **token_inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Encodes the sentences of each length in one call, for an encoder whose output depends on the padding.

    Arguments and result are those of [`encode_unpadded`]; the encoder can be any, and the states of a sentence of 0
    tokens are 0.
    """
    lengths = attention_mask.count_nonzero(dim=1)  # (S,)
    numbers = torch.arange(attention_mask.numel(), device=attention_mask.device).view_as(attention_mask)
    places, rows, states, poolers = [], [], [], []
    for length in lengths[lengths > 0].unique().tolist():
        rows.append((lengths == length).nonzero()[:, 0])
        places.append(numbers[rows[-1]][attention_mask[rows[-1]] != 0])  # of the tokens in the flattened batch
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **token_inputs}
        inputs = {name: values.flatten()[places[-1]].view(-1, length) for name, values in inputs.items()}
        encoded = backbone(**inputs)
        states.append(encoded.last_hidden_state.flatten(0, 1))
        poolers.append(encoded.get("pooler_output"))
    padded = states[0].new_zeros(attention_mask.numel(), states[0].shape[-1])
    padded = padded.index_copy(0, torch.cat(places), torch.cat(states)).view(*attention_mask.shape, -1)
    if poolers[0] is None:
        return padded, None
    pooled = poolers[0].new_zeros(len(lengths), poolers[0].shape[-1])
    return padded, pooled.index_copy(0, torch.cat(rows), torch.cat(poolers))

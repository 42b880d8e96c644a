"""Encodes a batch without padding: as one sequence with attention within each sentence, or one length at a time."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .unpadded_batch_extrabert import UnpaddedBatch

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # an older torch
    varlen_attn = None

UNPADDED = "extrabert_unpadded"
"""Name of the attention implementation: `"sdpa"` that also accepts an [`UnpaddedBatch`]."""

COUNT_FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""Encoders (`model_type`) whose position ids start after the id of the padding token."""

RELATIVE = ("deberta", "deberta-v2", "mpnet")
"""Encoders (`model_type`) with relative positions in the attention, see `relative_attention_extrabert.py`."""

UNPADDABLE = (
    *("albert", "bert", "camembert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"),
    *RELATIVE,
)
"""Encoders (`model_type`) whose attention can be replaced and which accept `position_ids`."""


def unpadded_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    unpadded: UnpaddedBatch | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Computes attention within each sentence, in one call for all sentences of equal length.

    The arguments and the result are those of an attention function of transformers: with `sliding_window`, a token
    attends only to tokens that are fewer positions away. The encoder passes on the argument `unpadded`. Without
    `unpadded`, the function is plain SDPA, or returns the attention weights `(S, heads, T, T)` too if the encoder
    passes on `output_attentions=True`.
    """
    if unpadded is None and kwargs.get("output_attentions"):
        return _attention_with_weights(query, key, value, attention_mask, dropout, scaling)
    if unpadded is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    tokens = [states[0].transpose(0, 1) for states in (query, key, value)]  # each (N, heads, d)
    longest = unpadded.runs[-1][1]
    if sliding_window is not None and longest > sliding_window:
        places = torch.arange(longest, device=query.device)
        window = (places[:, None] - places).abs() < sliding_window  # (longest, longest)
        masks = [window[:length, :length] if length > sliding_window else None for _, length in unpadded.runs]
        return unpadded.attend(*tokens, masks=masks, dropout=dropout, scaling=scaling).unsqueeze(0), None
    if not dropout and _fits_kernel(query, scaling):
        attended = varlen_attn(tokens[0], tokens[1], tokens[2], unpadded.offsets, unpadded.offsets, longest, longest)
        return attended.unsqueeze(0), None
    return unpadded.attend(*tokens, dropout=dropout, scaling=scaling).unsqueeze(0), None  # (1, N, heads, d)


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
        query.is_cuda and _has_kernel(query.device, query.dtype) and width % 8 == 0 and scaling in (None, width**-0.5)
    )


def _has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch's variable-length attention kernel exists for a CUDA device and a type of the states."""
    return (
        varlen_attn is not None
        and torch.cuda.get_device_capability(device) >= (8, 0)  # as FlashAttention requires
        and dtype in (torch.float16, torch.bfloat16)
    )


AttentionInterface.register(UNPADDED, unpadded_attention)
AttentionMaskInterface.register(UNPADDED, sdpa_mask)


def enable_unpadding(backbone: PreTrainedModel) -> None:
    """Sets the attention that supports unpadded batches, if the encoder is one of [`UNPADDABLE`] and has SDPA."""
    if backbone.config.model_type in RELATIVE:
        from .relative_attention_extrabert import replace_attention  # imports the code of these encoders

        replace_attention(backbone)
    elif backbone.config.model_type in UNPADDABLE and backbone.config._attn_implementation == "sdpa":
        backbone.set_attn_implementation(UNPADDED)


def can_unpad(backbone: PreTrainedModel) -> bool:
    """Whether the attention of an encoder of [`UNPADDABLE`] supports unpadded batches."""
    if backbone.config.model_type in RELATIVE:
        from .relative_attention_extrabert import is_replaced

        return is_replaced(backbone)
    return backbone.config._attn_implementation == UNPADDED


def lacks_kernel(backbone: PreTrainedModel, training: bool) -> str | None:
    """
    Returns why no attention kernel of a GPU takes all sentences of an unpadded batch; `None` if one does.

    Without such a kernel there is one call for each length. On a CPU this costs little, and the result is `None`. On a
    GPU, many small calls take longer than the padding, and cuDNN takes long to prepare a call for each new shape.

    Args:
        backbone (`PreTrainedModel`):
            An encoder of [`UNPADDABLE`].
        training (`bool`):
            Whether the encoder is used with dropout.
    """
    weight, config = next(backbone.parameters(), None), backbone.config
    if weight is None:
        return "not supported in DataParallel"
    kind = weight.device.type
    if kind == "cpu":
        return None
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    rates = (getattr(config, name, 0.0) for name in ("attention_probs_dropout_prob", "attention_dropout"))
    if config.model_type == "deberta" and dtype != weight.dtype:
        return None  # its padded attention in transformers 5.24 raises an error under autocast
    if config.model_type in (*RELATIVE, "modernbert"):
        return f"the GPU's attention kernel does not support {config.model_type} encoders"
    if training and any(rates):
        return "the GPU's attention kernel does not support dropout"
    if kind != "cuda" or not _has_kernel(weight.device, dtype):
        return f"no attention kernel for {str(dtype).removeprefix('torch.')} on this {kind} device"
    return None


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
    is_relative = backbone.config.model_type in RELATIVE
    has_window = backbone.config.model_type == "modernbert"
    is_full = backbone.config.model_type == "mpnet" and attention_mask.all()  # its own attention is 2 % faster
    if is_full or ((is_relative or has_window) and _has_gaps(attention_mask)):  # a distance counts masked tokens too
        encoded = backbone(input_ids=input_ids, attention_mask=attention_mask, **token_inputs)
        return encoded.last_hidden_state, encoded.get("pooler_output")
    unpadded = UnpaddedBatch.of(attention_mask)
    if backbone.config.model_type in COUNT_FROM_PADDING:
        padding = backbone.embeddings.padding_idx
        is_token = input_ids != padding
        positions = is_token.cumsum(dim=1) * is_token + padding
    else:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    pooler = getattr(backbone, "pooler", None)
    inputs = {"input_ids": input_ids, "position_ids": positions, **token_inputs}
    inputs = {name: unpadded.unpad(values) for name, values in inputs.items()}  # each (1, N)
    if is_relative:
        from .relative_attention_extrabert import encode

        states = unpadded.repad(encode(backbone, unpadded, **inputs))
    else:
        if has_window:  # else ModernBERT computes a mask (N, N)
            inputs["attention_mask"] = dict.fromkeys(backbone.config.layer_types)
        states = unpadded.repad(backbone(**inputs, unpadded=unpadded).last_hidden_state)
    if backbone.config.model_type == "albert" and pooler is not None:
        return states, backbone.pooler_activation(pooler(states[:, 0]))
    return states, None if pooler is None else pooler(states)


def _has_gaps(attention_mask: torch.Tensor) -> bool:
    """Whether a mask `(S, T)` has a sentence with padding between two of its tokens."""
    starts = functional.pad(attention_mask.bool(), (1, 0)).int().diff(dim=1) > 0  # (S, T)
    return bool((starts.count_nonzero(dim=1) > 1).any())


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

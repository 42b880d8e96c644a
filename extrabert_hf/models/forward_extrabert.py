"""The forward pass of all models, from token ids to logits, and its output."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from .encoder_inputs_extrabert import EncoderInputs
from .unpadding_extrabert import encode_by_length, encode_unpadded


@dataclass
class ExtraBertOutput(ModelOutput):
    """
    Output of a model.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*):
            Mean cross-entropy, or mean squared error for the similarity head; returned if `labels` are passed.
        logits (`torch.FloatTensor` of shape `(batch, num_labels)`):
            One logit per class. The similarity head returns `(batch, 1)`, the score in the units of the labels.
        hidden_states (`tuple[torch.FloatTensor]` of shape `(batch, seq, d)` or `(batch, 2, seq, d)`, *optional*):
            The states after the embeddings and after each layer of the encoder, with `output_hidden_states=True`. A
            cross-encoder has `(batch, length, d)`, for sequences of both sentences.
        attentions (`tuple[torch.FloatTensor]` of shape `(batch, heads, seq, seq)`, for pairs `(batch, 2, ...)`, \
            *optional*):
            The attention weights of each layer, with `output_attentions=True`; of a cross-encoder `(batch, heads,
            length, length)`.
        embeddings (`torch.FloatTensor` of shape `(batch, d)` or `(batch, 2, d)`, *optional*):
            The pooled sentence vectors, with `output_embeddings=True`. A cross-encoder has one vector per pair.
        pooling_weights (`torch.FloatTensor` of shape `(batch, seq)` or `(batch, 2, seq)`, *optional*):
            The weight of each token in its sentence vector, with `output_pooling_weights=True`. Rows sum to 1.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    embeddings: torch.FloatTensor | None = None
    pooling_weights: torch.FloatTensor | None = None


class ForwardPass:
    """Mixin of the models: encodes, pools and scores."""

    def embed(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        *,
        task: str | None = None,
    ) -> torch.Tensor:
        """
        Encodes each sentence into one vector: the vectors that the head reads, as in `output.embeddings` of `forward`.

        The vectors are not normalized; divide them by their norms to compare them by dot products. As `forward`, the
        method uses dropout in training mode and records gradients outside of `torch.no_grad()`.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, seq)`, or `(batch, 2, seq)` for the sentences of pairs):
                Token ids. Every model takes both shapes: the vector of a sentence does not depend on the other one.
            attention_mask (`torch.Tensor` of the same shape, *optional*):
                1 for a token, 0 for padding; `None` means no padding.
            token_type_ids (`torch.Tensor` of the same shape, *optional*):
                Segment of each token, for encoders that have segments.
            inputs_embeds (`torch.Tensor` of shape `(batch, seq, d)` or `(batch, 2, seq, d)`, *optional*):
                Vectors of the tokens, instead of `input_ids`.
            task (`str`, *optional*):
                Task of a multitask model, whose pooling and adapter are used; required there, `None` elsewhere.

        Returns:
            `torch.Tensor` of shape `(batch, d)`, or `(batch, 2, d)` for pairs, in the dtype of the model.

        Raises:
            `ValueError`: for a cross-encoder, which has no vectors of single sentences, or a wrong `task` or shape.

        Example:
            >>> from transformers import BertConfig
            >>> from extrabert_hf import ExtraBertConfig, ExtraBertForSimilarity
            >>> encoder = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
            >>> model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=encoder)).eval()
            >>> model.embed(torch.ones(3, 5, dtype=torch.long)).shape
            torch.Size([3, 8])
            >>> model.embed(torch.ones(3, 2, 5, dtype=torch.long)).shape
            torch.Size([3, 2, 8])
        """
        pooling, head = self._parts_of(task)
        if head.is_cross_encoder:
            raise ValueError(
                "`embed` needs a model with `pair_encoding` 'bi_encoder': a cross-encoder reads both sentences of a "
                "pair at once and has no vectors of single sentences."
            )
        inputs = EncoderInputs.of(input_ids, attention_mask, token_type_ids, inputs_embeds)
        *rows, seq = inputs.attention_mask.shape
        if len(rows) not in (1, 2) or rows[1:] not in ([], [2]):
            raise ValueError(f"`input_ids` must be (batch, seq) or (batch, 2, seq), got {(*rows, seq)}.")
        inputs = inputs.flat()
        with self._sequences_of(task, len(inputs.attention_mask)):
            return self._pool(pooling, inputs)[0].unflatten(0, rows)

    def _parts_of(self, task: str | None) -> tuple[nn.Module | None, nn.Module]:
        """Returns the pooling, `None` for the encoder's own pooler, and the head of a task."""
        if task is not None:
            raise ValueError(f"`task` is for a multitask model, this model has one task, got {task!r}.")
        return self.pooling, self.head

    def _sequences_of(self, task: str | None, count: int) -> AbstractContextManager:
        """Selects the adapter of a task for the next `count` sequences of the encoder."""
        return nullcontext()

    def _pool(
        self, pooling: nn.Module | None, inputs: EncoderInputs, **requests: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None, ModelOutput]:
        """
        Sentences `(S, T)`, or pairs `(S, 2, T)` of a cross-encoder -> vectors `(S, d)`, weights of the tokens, and the
        output of the encoder. `requests` are arguments of the encoder, such as `output_hidden_states=True`.
        """
        pairs = inputs.pairs()
        sequences = inputs if pairs is None else inputs.joined(pairs)
        encoded = self._encode(sequences, **requests)
        if pooling is None:
            return encoded["pooler_output"], None, encoded
        vectors, weights = pooling(encoded["last_hidden_state"], sequences.attention_mask)
        return vectors, weights if pairs is None else pairs.split(weights, inputs.attention_mask.shape[-1]), encoded

    def _encode(self, inputs: EncoderInputs, *, may_unpad: bool = True, **requests: Any) -> ModelOutput:
        """`(S, T)` -> token states `(S, T, d)` and the pooler's output `(S, d)`, or `None` without a pooler."""
        has_types = getattr(self.backbone.config, "type_vocab_size", 0) > 1
        arguments = inputs.arguments(token_types=has_types)
        is_compiling = torch.compiler.is_compiling()  # without padding, each batch would be compiled again
        may_unpad = may_unpad and inputs.input_ids is not None and not requests and not is_compiling
        if may_unpad and self.why_padded() is None and inputs.attention_mask.any():
            return BaseModelOutputWithPooling(*encode_unpadded(self.backbone, **arguments))
        if may_unpad and self.config.encode_by_length and inputs.attention_mask.any():
            return BaseModelOutputWithPooling(*encode_by_length(self.backbone, **arguments))
        return self.backbone(**arguments, **requests)

    def _score(
        self,
        pooling: nn.Module | None,
        head: nn.Module,
        inputs: EncoderInputs,
        labels: torch.Tensor | None,
        *,
        output_embeddings: bool,
        output_pooling_weights: bool,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
        return_dict: bool | None,
    ) -> ExtraBertOutput | tuple:
        rows, seq = self._check_shapes(head, inputs.attention_mask, labels)
        if not head.is_cross_encoder:
            inputs = inputs.flat()  # each sentence is a sequence: pairs are (2B, T)
        requests = {
            "output_attentions": self.config.output_attentions if output_attentions is None else output_attentions,
            "output_hidden_states": (
                self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
            ),
        }
        requests = {name: value for name, value in requests.items() if value not in (None, False)}
        embeddings, weights, encoded = self._pool(pooling, inputs, **requests)
        rows_of_encoder = rows if not head.is_cross_encoder else rows[:1]
        embeddings = embeddings.view(*rows_of_encoder, -1)  # (B, d), two vectors for a pair (B, 2, d)
        logits = head(embeddings)  # (B, C)
        output = ExtraBertOutput(
            loss=None if labels is None else head.loss(logits, labels),
            logits=logits,
            hidden_states=_by_row(encoded, "hidden_states", rows_of_encoder, requests),
            attentions=_by_row(encoded, "attentions", rows_of_encoder, requests),
            embeddings=embeddings if output_embeddings else None,
            pooling_weights=weights.view(*rows, seq) if output_pooling_weights and weights is not None else None,
        )
        return self._returned(output, return_dict)

    def _returned(self, output: ExtraBertOutput, return_dict: bool | None) -> ExtraBertOutput | tuple:
        """Returns the output, or a tuple of what is not `None` in it, as transformers does for `return_dict=False`."""
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def _check_shapes(
        self, head: nn.Module, tokens: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Size, int]:
        *rows, seq = tokens.shape
        if len(rows) != head.sentences_per_row or (len(rows) == 2 and rows[1] != 2):
            form = "(batch, 2, seq)" if head.sentences_per_row == 2 else "(batch, seq)"
            raise ValueError(f"`input_ids` must be {form} for a {type(head).__name__}, got {tuple(tokens.shape)}.")
        if labels is not None and labels.shape != (rows[0],):
            raise ValueError(f"`labels` must be (batch,) = ({rows[0]},), got {tuple(labels.shape)}.")
        return torch.Size(rows), seq


def _by_row(
    encoded: ModelOutput, name: str, rows: torch.Size, requests: Mapping[str, Any]
) -> tuple[torch.Tensor | None, ...] | None:
    """Tensors of each layer of the encoder, `(S, ...)` -> `(B, ...)`, of pairs `(B, 2, ...)`."""
    layers = encoded.get(name) if f"output_{name}" in requests else None
    if layers is None or len(rows) == 1:
        return layers
    return tuple(None if layer is None else layer.unflatten(0, rows) for layer in layers)

"""The tensors that an encoder reads: of sentences, of pairs, and of pairs in one sequence for a cross-encoder."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class CrossEncoderInputs:
    """
    Pairs `(B, 2, T)` as one sequence each, `[CLS] first [SEP] second [SEP]`, so that each token attends to both
    sentences; the longest sequence of the batch has `L` tokens.

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
        # tokens in their order, padding after them
        target = torch.where(kept == 1, tokens, tokens[:, -1:] + padding) - 1
        numbers = torch.arange(kept.shape[1], device=kept.device).expand_as(kept)
        places = torch.zeros_like(kept).scatter(1, target, numbers)[:, :longest]
        second = (places >= input_ids.shape[-1]).long()
        return cls(input_ids.flatten(1).gather(1, places), kept.gather(1, places), second, places)

    def split(self, values: torch.Tensor, seq: int) -> torch.Tensor:
        """Values of tokens `(B, L)` -> `(B, 2, T)` for `T = seq`; 0 for padding and for the omitted `[CLS]`."""
        return values.new_zeros(values.shape[0], 2 * seq).scatter(1, self.places, values).view(-1, 2, seq)


@dataclass(frozen=True)
class EncoderInputs:
    """
    Sentences `(S, T)`, or pairs `(B, 2, T)`.

    Args:
        input_ids (`torch.Tensor` of shape `(..., T)`, *optional*):
            Token ids; `None` if there are `inputs_embeds`.
        attention_mask (`torch.Tensor` of shape `(..., T)`):
            1 for a token, 0 for padding.
        token_type_ids (`torch.Tensor` of shape `(..., T)`, *optional*):
            Segment of each token; encoders without segments do not get it.
        inputs_embeds (`torch.Tensor` of shape `(..., T, d)`, *optional*):
            Vectors in place of the embeddings of token ids.
    """

    input_ids: torch.Tensor | None
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor | None = None
    inputs_embeds: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> "EncoderInputs":
        """Takes the arguments of `forward`; a mask that is `None` means no padding."""
        if (input_ids is None) == (inputs_embeds is None):
            got = "none" if input_ids is None else "both"
            raise ValueError(f"one of `input_ids` and `inputs_embeds` must be passed, got {got}.")
        if attention_mask is None:
            tokens = input_ids if inputs_embeds is None else inputs_embeds[..., 0]
            attention_mask = torch.ones_like(tokens, dtype=torch.long)
        return cls(input_ids, attention_mask, token_type_ids, inputs_embeds)

    def arguments(self, *, token_types: bool) -> dict[str, torch.Tensor]:
        """Returns the arguments of an encoder's `forward`; `token_types` tells whether it has segments."""
        ids = {"input_ids": self.input_ids} if self.inputs_embeds is None else {"inputs_embeds": self.inputs_embeds}
        types = {"token_type_ids": self.token_type_ids} if token_types and self.token_type_ids is not None else {}
        return {**ids, "attention_mask": self.attention_mask, **types}

    def flat(self) -> "EncoderInputs":
        """Pairs `(B, 2, T)` -> sentences `(2B, T)`; sentences stay."""
        dims = self.attention_mask.dim() - 1
        return self if dims == 1 else self.map(lambda values: values.flatten(0, dims - 1))

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "EncoderInputs":
        """Applies a function to each tensor."""
        tensors = (self.input_ids, self.attention_mask, self.token_type_ids, self.inputs_embeds)
        return EncoderInputs(*(None if values is None else change(values) for values in tensors))

    def pairs(self) -> CrossEncoderInputs | None:
        """Returns the layout of pairs `(B, 2, T)` as one sequence a pair; `None` for sentences."""
        if self.attention_mask.dim() != 3:
            return None
        ids = torch.zeros_like(self.attention_mask) if self.input_ids is None else self.input_ids
        return CrossEncoderInputs.of(ids, self.attention_mask)

    def joined(self, pairs: CrossEncoderInputs) -> "EncoderInputs":
        """Pairs `(B, 2, T)` -> one sequence a pair, `(B, L)`; the segments are those of the two sentences."""
        if self.inputs_embeds is None:
            return EncoderInputs(pairs.input_ids, pairs.attention_mask, pairs.token_type_ids)
        embeds = self.inputs_embeds.flatten(1, 2)  # (B, 2T, d)
        embeds = embeds.gather(1, pairs.places.unsqueeze(-1).expand(-1, -1, embeds.shape[-1]))  # (B, L, d)
        return EncoderInputs(None, pairs.attention_mask, pairs.token_type_ids, embeds)

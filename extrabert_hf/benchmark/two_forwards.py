"""Models that encode a pair's sentences in a forward each, the plain way; ours encode both in one."""

import torch
from torch import nn

from extrabert_hf.models import ExtraBertForParaphrase, ExtraBertForSimilarity, ExtraBertPreTrainedModel


class TwoForwards:
    """Replaces the way of a pair's sentences through encoder and pooling: each side padded to its own longest."""

    def _pool(
        self, pooling: nn.Module | None, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        """`(2B, T)`, a pair's sentences one after the other -> vectors `(2B, d)` in the same order."""
        vectors = []
        for side in (0, 1):
            ids, mask = input_ids[side::2], attention_mask[side::2]  # (B, T)
            longest = mask.sum(dim=1).max()
            vectors.append(super()._pool(pooling, ids[:, :longest], mask[:, :longest])[0])  # (B, d)
        return torch.stack(vectors, dim=1).flatten(0, 1), None


class TwoForwardsForParaphrase(TwoForwards, ExtraBertForParaphrase):
    """[`ExtraBertForParaphrase`] with two forwards."""


class TwoForwardsForSimilarity(TwoForwards, ExtraBertForSimilarity):
    """[`ExtraBertForSimilarity`] with two forwards."""


TWO_FORWARDS = {
    ExtraBertForParaphrase: TwoForwardsForParaphrase,
    ExtraBertForSimilarity: TwoForwardsForSimilarity,
}


def with_two_forwards(model: ExtraBertPreTrainedModel) -> ExtraBertPreTrainedModel:
    """Gives a model for pairs with the same weights, which encodes the two sentences one after the other."""
    plain = TWO_FORWARDS[type(model)](model.config)
    plain.load_state_dict(model.state_dict())
    return plain

"""Token states -> one vector per sentence, and the weight of each token in the vector."""

import torch
from torch import nn

from .configuration_extrabert import ExtraBertConfig


def attend(
    scores: torch.Tensor, hidden_states: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Averages token states with the softmax of their scores; padding gets weight 0.

    Args:
        scores (`torch.Tensor` of shape `(batch, seq)`):
            One score per token.
        hidden_states (`torch.Tensor` of shape `(batch, seq, d)`):
            The token states.
        attention_mask (`torch.Tensor` of shape `(batch, seq)`):
            1 for a token, 0 for padding.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: vectors `(batch, d)`, and weights `(batch, seq)` whose rows sum to 1.
    """
    scores = scores.float().masked_fill(attention_mask == 0, torch.finfo(torch.float32).min)
    weights = scores.softmax(dim=-1).to(hidden_states.dtype)  # (B, T)
    return torch.einsum("bt,btd->bd", weights, hidden_states), weights


class ClsPooling(nn.Module):
    """Takes the state of the first token, `[CLS]`."""

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shapes as in [`attend`]."""
        weights = torch.zeros_like(attention_mask, dtype=hidden_states.dtype)
        weights[:, 0] = 1.0
        return hidden_states[:, 0], weights


class MeanPooling(nn.Module):
    """Averages the token states, each with the same weight."""

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shapes as in [`attend`]."""
        return attend(torch.zeros_like(attention_mask, dtype=torch.float32), hidden_states, attention_mask)


class DotProductAttentionPooling(nn.Module):
    r"""
    Averages the token states, each weighted by its match with the state of `[CLS]`: `e_i = h_cls . h_i / sqrt(d)`.

    The paper's "Dot Product Attention" (ExTraBERT, Section 5.4, row "SFT + DPA + CS"), with the scale of Vaswani et
    al. (2017), https://arxiv.org/abs/1706.03762, Section 3.2.1. It has no parameters.
    """

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shapes as in [`attend`]."""
        cls = hidden_states[:, 0] / hidden_states.shape[-1] ** 0.5  # (B, d)
        return attend(torch.einsum("bd,btd->bt", cls, hidden_states), hidden_states, attention_mask)


class MultiplicativeAttentionPooling(nn.Module):
    r"""
    Averages the token states, each weighted by its match with a learned query: `e_i = s^T W h_i`.

    The "general" score of Luong et al. (2015), https://arxiv.org/abs/1508.04025, Section 3.1, with a learned query `s`
    as in ExTraBERT, Section 4. `s` starts at zero and `W` at the identity, so an untrained layer is mean pooling and
    the pretrained geometry is kept.

    Args:
        hidden_size (`int`):
            Width `d` of the token states, `768` for `bert-base-uncased`.
        learned_weight (`bool`, defaults to `True`):
            Whether to learn `W`. `False` uses the score `s^T h_i`, as in the paper.

    Example:
        >>> pooling = MultiplicativeAttentionPooling(hidden_size=2)
        >>> states = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
        >>> vectors, weights = pooling(states, attention_mask=torch.tensor([[1, 1, 0]]))
        >>> vectors.tolist(), weights.tolist()
        ([[0.5, 0.5]], [[0.5, 0.5, 0.0]])
    """

    def __init__(self, hidden_size: int, learned_weight: bool = True) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(hidden_size))
        self.weight = nn.Parameter(torch.eye(hidden_size)) if learned_weight else None

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shapes as in [`attend`]."""
        query = self.query if self.weight is None else self.query @ self.weight  # (d,): s^T W
        return attend(hidden_states @ query, hidden_states, attention_mask)


def build_pooling(config: ExtraBertConfig) -> nn.Module | None:
    """Builds the pooling that `config` names; `None` for the encoder's own pooler."""
    if config.pooling == "pooler":
        return None
    if config.pooling == "multiplicative":
        return MultiplicativeAttentionPooling(config.hidden_size, config.multiplicative_weight)
    return {"cls": ClsPooling, "mean": MeanPooling, "dot": DotProductAttentionPooling}[config.pooling]()

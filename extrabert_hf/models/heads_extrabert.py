"""Sentence vectors -> logits: the heads of ExTraBERT, Section 4."""

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_extrabert import ExtraBertConfig
from .conformal_extrabert import check_conformal


class FeedForward(nn.Module):
    r"""
    `depth` layers `d -> d` with GELU, dropout between them; the identity at depth 0.

    The paper's "3-layer feed-forward neural network" between pooling and classifier. With `feed_forward_residual` each
    layer adds to its input, so that an untrained network changes the pretrained vectors little.
    """

    def __init__(self, config: ExtraBertConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(config.hidden_size, config.hidden_size) for _ in range(config.feed_forward_depth)
        )
        self.dropout = nn.Dropout(config.head_dropout)
        self.residual = config.feed_forward_residual

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """`(..., d)` -> `(..., d)`."""
        for index, layer in enumerate(self.layers):
            inputs = vectors if index == 0 else self.dropout(vectors)
            outputs = F.gelu(layer(inputs))
            vectors = vectors + outputs if self.residual else outputs
        return vectors


PAIR_FEATURES = {
    "u": lambda u, v: u,
    "v": lambda u, v: v,
    "sum_squared": lambda u, v: (u + v).square(),
    "difference_squared": lambda u, v: (u - v).square(),
    "absolute_difference": lambda u, v: (u - v).abs(),
    "product": lambda u, v: u * v,
    "cosine": lambda u, v: F.cosine_similarity(u, v, dim=-1).unsqueeze(-1),
}


class PairFeatures(nn.Module):
    """
    Two vectors -> features for a linear layer; in the paper's best row `[u, v, (u + v)^2, (u - v)^2, cos(u, v)]`.

    Args:
        config (`ExtraBertConfig`):
            `pair_features` are the features, in this order.
    """

    def __init__(self, config: ExtraBertConfig) -> None:
        super().__init__()
        self.names = tuple(config.pair_features)
        self.width = sum(1 if name == "cosine" else config.hidden_size for name in self.names)

    def forward(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """`(batch, d)` and `(batch, d)` -> `(batch, width)`."""
        return torch.cat([PAIR_FEATURES[name](u, v) for name in self.names], dim=-1)


class ClassificationHead(nn.Module):
    """Base class of the heads that classify."""

    sentences_per_row = 1
    is_cross_encoder = False  # whether a pair has one vector, instead of one per sentence
    default_class_names: tuple[str, ...] = ()

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of logits `(batch, num_labels)` against class ids `(batch,)`."""
        return F.cross_entropy(logits.float(), labels)


class SentimentHead(ClassificationHead):
    """A sentence vector -> one logit per class: feed-forward, dropout, linear."""

    default_class_names = ("very negative", "negative", "neutral", "positive", "very positive")

    def __init__(self, config: ExtraBertConfig) -> None:
        super().__init__()
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """`(batch, d)` -> `(batch, num_labels)`."""
        return self.classifier(self.dropout(self.feed_forward(vectors)))


class ParaphraseHead(ClassificationHead):
    """
    A pair of sentence vectors -> one logit per class: the same feed-forward for both, pair features, linear.

    A cross-encoder has one vector per pair, which replaces the pair features.
    """

    sentences_per_row = 2
    default_class_names = ("not paraphrase", "paraphrase")

    def __init__(self, config: ExtraBertConfig) -> None:
        super().__init__()
        self.is_cross_encoder = config.pair_encoding == "cross_encoder"
        self.feed_forward = FeedForward(config)
        self.features = None if self.is_cross_encoder else PairFeatures(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(
            config.hidden_size if self.is_cross_encoder else self.features.width, config.num_labels
        )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """`(batch, 2, d)`, of a cross-encoder `(batch, d)` -> `(batch, num_labels)`."""
        vectors = self.feed_forward(vectors)
        if not self.is_cross_encoder:
            vectors = self.features(*vectors.unbind(dim=1))
        return self.classifier(self.dropout(vectors))


class RegressionHead(nn.Module):
    """Base class of the heads that score a pair."""

    sentences_per_row = 2
    is_cross_encoder = False
    default_class_names = ("similarity",)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean squared error of scores `(batch, 1)` against labels `(batch,)`."""
        return F.mse_loss(logits.squeeze(-1).float(), labels.float())  # (B,) against (B,): nothing broadcasts


class CosineSimilarityHead(RegressionHead):
    r"""
    A pair of sentence vectors -> one score: the cosine scaled to `score_range`, `5 cos(u, v)` in the paper.

    The paper states that the cosine is "between 0 and 1". It is in [-1, 1], so the score can be outside `score_range`
    unless `similarity_bounds` limits the score.
    """

    def __init__(self, config: ExtraBertConfig) -> None:
        super().__init__()
        self.low, self.high = config.score_range
        self.bounds = config.similarity_bounds

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """`(batch, 2, d)` -> `(batch, 1)`."""
        u, v = vectors.float().unbind(dim=1)  # float32: a bfloat16 cosine near 1 has steps of 1/256
        cosine = F.cosine_similarity(u, v, dim=-1).unsqueeze(-1)  # (B, 1)
        if self.bounds == "scale":
            cosine = (1 + cosine) / 2
        score = self.low + (self.high - self.low) * cosine
        if self.bounds == "clamp" and not self.training:
            score = score.clamp(self.low, self.high)
        return score


class LinearSimilarityHead(RegressionHead):
    """
    A pair of sentence vectors -> one score, linear in the pair features: the paper's rows without cosine.

    A cross-encoder has one vector per pair, which replaces the pair features.
    """

    def __init__(self, config: ExtraBertConfig) -> None:
        super().__init__()
        self.low, self.high = config.score_range
        self.bounds = config.similarity_bounds
        self.is_cross_encoder = config.pair_encoding == "cross_encoder"
        self.features = None if self.is_cross_encoder else PairFeatures(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.hidden_size if self.is_cross_encoder else self.features.width, 1)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """`(batch, 2, d)`, of a cross-encoder `(batch, d)` -> `(batch, 1)`."""
        if not self.is_cross_encoder:
            vectors = self.features(*vectors.unbind(dim=1))
        score = self.classifier(self.dropout(vectors))
        if self.bounds == "scale":
            score = self.low + (self.high - self.low) * score.sigmoid()
        if self.bounds == "clamp" and not self.training:
            score = score.clamp(self.low, self.high)
        return score


def build_head(kind: str, config: ExtraBertConfig) -> ClassificationHead | RegressionHead:
    """
    Builds a head.

    Args:
        kind (`str`):
            `"sentiment"`, `"paraphrase"` or `"similarity"`.
        config (`ExtraBertConfig`):
            Fields of the head. If it has no class names, it gets the default names of the head.

    Raises:
        `ValueError`: if `num_labels`, `problem_type` or `conformal` does not fit the head.
    """
    if kind == "similarity":
        two_vectors = config.pair_encoding == "bi_encoder"
        head_class = CosineSimilarityHead if config.similarity == "cosine" and two_vectors else LinearSimilarityHead
    else:
        head_class = {"sentiment": SentimentHead, "paraphrase": ParaphraseHead}[kind]
    config.class_names = config.names or list(head_class.default_class_names)
    if kind == "similarity" and config.num_labels != 1:
        raise ValueError(f"`num_labels` must be 1 for a similarity head, which scores, got {config.num_labels}.")
    if kind != "similarity" and config.num_labels < 2:
        raise ValueError(f"`num_labels` must be 2 or more for a {kind} head, got {config.num_labels}.")
    due = "regression" if kind == "similarity" else "single_label_classification"
    if config.problem_type not in (None, due):
        raise ValueError(f"`problem_type` must be {due!r} or None for a {kind} head, got {config.problem_type!r}.")
    if config.conformal is not None:
        check_conformal(config.conformal, config.num_labels)
    return head_class(config)

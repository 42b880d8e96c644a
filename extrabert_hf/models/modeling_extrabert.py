"""The models of one task: an encoder, a pooling and a head."""

import torch

from .base_extrabert import ExtraBertPreTrainedModel
from .configuration_extrabert import ExtraBertConfig
from .conformal_extrabert import prediction_intervals, prediction_sets
from .encoder_inputs_extrabert import EncoderInputs
from .forward_extrabert import ExtraBertOutput
from .heads_extrabert import build_head
from .pooling_extrabert import build_pooling


class ExtraBertForOneTask(ExtraBertPreTrainedModel):
    """A model of one task: an encoder, a pooling and a head. Each subclass has a different head."""

    def __init__(self, config: ExtraBertConfig) -> None:
        if getattr(config, "tasks", None) is not None:
            raise ValueError(f"`config` must be of one task, as from `config.for_task`, got {list(config.tasks)}.")
        super().__init__(config)
        self.pooling = build_pooling(self.config)
        self.head = build_head(self.head_kind, self.config)
        self.post_init()

    def vectors_for_head(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Sentences `(rows, seq)`, or pairs `(rows, 2, seq)` of a cross-encoder -> vectors `(rows, d)`."""
        return self._pool(self.pooling, EncoderInputs.of(input_ids, attention_mask))[0]

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_embeddings: bool = False,
        output_pooling_weights: bool = False,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ExtraBertOutput | tuple:
        """
        Scores a batch of sentences or of pairs. All sentences go through the encoder in one forward.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, seq)`, for pairs `(batch, 2, seq)`):
                Token ids.
            attention_mask (`torch.Tensor` of the same shape, *optional*):
                1 for a token, 0 for padding.
            labels (`torch.Tensor` of shape `(batch,)`, *optional*):
                Class ids, or scores for the similarity head.
            output_embeddings (`bool`, defaults to `False`):
                Whether to return the sentence vectors.
            output_pooling_weights (`bool`, defaults to `False`):
                Whether to return the weight of each token; `None` for the encoder's own pooler.
            token_type_ids (`torch.Tensor` of the shape of `input_ids`, *optional*):
                Segment of each token, for encoders that have segments. A cross-encoder sets the segments itself, 0 for
                the first sentence and 1 for the second, and does not use this argument.
            inputs_embeds (`torch.Tensor` of shape `(batch, seq, d)`, for pairs `(batch, 2, seq, d)`, *optional*):
                Vectors of the tokens, instead of `input_ids`.
            output_attentions (`bool`, *optional*):
                Whether to return the attention weights of each layer; the default is that of the config.
            output_hidden_states (`bool`, *optional*):
                Whether to return the token states of each layer; the default is that of the config.
            return_dict (`bool`, *optional*):
                `False` returns a tuple of what is not `None` in the output; the default is that of the config.

        Raises:
            `ValueError`: if `input_ids` or `labels` have the wrong shape.
        """
        return self._score(
            self.pooling,
            self.head,
            EncoderInputs.of(input_ids, attention_mask, token_type_ids, inputs_embeds),
            labels,
            output_embeddings=output_embeddings,
            output_pooling_weights=output_pooling_weights,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )

    def conformal_predictions(self, logits: torch.Tensor) -> torch.Tensor:
        """
        Computes the prediction sets or intervals of rows, from the quantiles in the config.

        Args:
            logits (`torch.Tensor` of shape `(batch, num_labels)`):
                The logits of this model.

        Returns:
            `torch.Tensor`: for classes of shape `(batch, num_labels)`, bool, whether each class is in the set of the
            row, see [`prediction_sets`]; for scores of shape `(batch, 2)`, the ends of the interval of the row, see
            [`prediction_intervals`].

        Raises:
            `ValueError`: if the config has no quantiles.
        """
        conformal = self.config.conformal
        if conformal is None:
            raise ValueError(
                "the config must have `conformal`, which `extrabert calibrate --coverage` fits, got None."
            )
        if self.head_kind == "similarity":
            return prediction_intervals(logits.squeeze(-1), conformal, self.config.score_range)
        return prediction_sets(logits, conformal)


class ExtraBertForSentiment(ExtraBertForOneTask):
    """Classifies one sentence (ExTraBERT, Section 4: SST); five classes, or the classes in `class_names`."""

    head_kind = "sentiment"


class ExtraBertForParaphrase(ExtraBertForOneTask):
    """Classifies a pair of sentences (ExTraBERT, Section 4: Quora); two classes, or the classes in `class_names`."""

    head_kind = "paraphrase"


class ExtraBertForSimilarity(ExtraBertForOneTask):
    """Scores a pair of sentences (ExTraBERT, Section 4: STS) with mean squared error as loss."""

    head_kind = "similarity"


MODEL_FOR_HEAD: dict[str, type[ExtraBertForOneTask]] = {
    model.head_kind: model for model in (ExtraBertForSentiment, ExtraBertForParaphrase, ExtraBertForSimilarity)
}
"""The model class of each kind of head."""

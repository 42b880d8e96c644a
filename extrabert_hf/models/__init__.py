"""Config and models. The files of this folder import only their siblings, torch and transformers."""

from extrabert_hf.models.configuration_extrabert import ExtraBertConfig
from extrabert_hf.models.modeling_extrabert import (
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
    ExtraBertOutput,
    ExtraBertPreTrainedModel,
)

__all__ = [
    "MODEL_FOR_HEAD",
    "ExtraBertConfig",
    "ExtraBertForParaphrase",
    "ExtraBertForSentiment",
    "ExtraBertForSimilarity",
    "ExtraBertOutput",
    "ExtraBertPreTrainedModel",
]

MODEL_FOR_HEAD = {
    "sentiment": ExtraBertForSentiment,
    "paraphrase": ExtraBertForParaphrase,
    "similarity": ExtraBertForSimilarity,
}
"""The class behind a [`TaskSpec`]'s `head`."""

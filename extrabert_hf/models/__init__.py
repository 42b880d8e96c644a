"""Config and models. The files beside this one import only each other, torch, transformers and huggingface_hub."""

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

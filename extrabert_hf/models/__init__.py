"""Config and models. The files beside this one import only each other and what transformers itself needs."""

from extrabert_hf.models.base_extrabert import ExtraBertOutput, ExtraBertPreTrainedModel
from extrabert_hf.models.configuration_extrabert import ExtraBertConfig
from extrabert_hf.models.modeling_extrabert import (
    MODEL_FOR_HEAD,
    ExtraBertForOneTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
)
from extrabert_hf.models.modeling_multitask_extrabert import ExtraBertForMultiTask

__all__ = [
    "MODEL_FOR_HEAD",
    "ExtraBertConfig",
    "ExtraBertForMultiTask",
    "ExtraBertForOneTask",
    "ExtraBertForParaphrase",
    "ExtraBertForSentiment",
    "ExtraBertForSimilarity",
    "ExtraBertOutput",
    "ExtraBertPreTrainedModel",
]

"""
Fine-tuning of BERT-like encoders for sentiment, paraphrase and similarity, after ExTraBERT.

Importing the package registers its config and models with `AutoConfig`, `AutoModel` and
`AutoModelForSequenceClassification`.
"""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from extrabert_hf.models import (
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
)

__all__ = [
    "ExtraBertConfig",
    "ExtraBertForMultiTask",
    "ExtraBertForParaphrase",
    "ExtraBertForSentiment",
    "ExtraBertForSimilarity",
]
__version__ = "0.1.0"

# A tuple, so that `from_pretrained` picks the class by the config's `architectures`. Registered one by one, or one of
# them alone, the class registered last would silently load every folder.
_MODELS = (ExtraBertForSentiment, ExtraBertForParaphrase, ExtraBertForSimilarity, ExtraBertForMultiTask)
AutoConfig.register(ExtraBertConfig.model_type, ExtraBertConfig)
AutoModel.register(ExtraBertConfig, _MODELS)
AutoModelForSequenceClassification.register(ExtraBertConfig, _MODELS)

# What is saved carries the files of models/, which load it where this package is not installed.
ExtraBertConfig.register_for_auto_class()
for _model in _MODELS:
    _model.register_for_auto_class("AutoModel")

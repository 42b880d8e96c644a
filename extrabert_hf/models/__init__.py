"""
Config and models, each imported on first use.

The `*_extrabert.py` files are copied into Hub repositories: they import only each other, torch, transformers,
huggingface_hub and safetensors.
"""

import importlib
from typing import TYPE_CHECKING, Any

# This import registers the config (see `extrabert_hf/__init__.py`), so it must run before the config's import.
import transformers.models.auto.configuration_auto  # noqa: F401

if TYPE_CHECKING:  # for type checkers; at run time `_MODULES` below selects what is imported
    from extrabert_hf.models.base_extrabert import ExtraBertPreTrainedModel
    from extrabert_hf.models.configuration_extrabert import ExtraBertConfig
    from extrabert_hf.models.forward_extrabert import ExtraBertOutput
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

_MODULES = {
    "MODEL_FOR_HEAD": "modeling_extrabert",
    "ExtraBertConfig": "configuration_extrabert",
    "ExtraBertForMultiTask": "modeling_multitask_extrabert",
    "ExtraBertForOneTask": "modeling_extrabert",
    "ExtraBertForParaphrase": "modeling_extrabert",
    "ExtraBertForSentiment": "modeling_extrabert",
    "ExtraBertForSimilarity": "modeling_extrabert",
    "ExtraBertOutput": "forward_extrabert",
    "ExtraBertPreTrainedModel": "base_extrabert",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

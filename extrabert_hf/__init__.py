"""
Fine-tuning of BERT-like encoders for sentiment, paraphrase and similarity, after ExTraBERT.

Each public name is imported on first use, so that `import extrabert_hf` takes a fraction of a second. The import has
one side effect: when transformers' auto classes are imported, before or afterwards, the config and the models of this
package are registered with `AutoConfig`, `AutoModel` and `AutoModelForSequenceClassification`.
"""

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

if TYPE_CHECKING:  # for type checkers; at run time `_MODULES` below selects what is imported
    from extrabert_hf.data.collators import DataCollatorForMultiTask, DataCollatorForSentences
    from extrabert_hf.data.loading import load_task_data
    from extrabert_hf.data.multitask import MultiTaskDataset
    from extrabert_hf.data.tokenization import tokenize_dataset
    from extrabert_hf.errors import InputError
    from extrabert_hf.inference.predictor import Predictions, Predictor
    from extrabert_hf.models.configuration_extrabert import ExtraBertConfig
    from extrabert_hf.models.modeling_extrabert import (
        ExtraBertForParaphrase,
        ExtraBertForSentiment,
        ExtraBertForSimilarity,
    )
    from extrabert_hf.models.modeling_multitask_extrabert import ExtraBertForMultiTask
    from extrabert_hf.pretrained.loading import TrainedModel, load_model
    from extrabert_hf.tasks import PAPER_TASKS, TaskSpec
    from extrabert_hf.training.command_line import parse_multitask_run, parse_run
    from extrabert_hf.training.finetune import run_finetuning
    from extrabert_hf.training.gradient_surgery import AGGREGATORS
    from extrabert_hf.training.multitask_arguments import MultiTaskArguments
    from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
    from extrabert_hf.training.one_call import FinetunedRun, finetune
    from extrabert_hf.training.trainer import ExtraBertTrainer
    from extrabert_hf.training.trainer_parts import metrics_for, prepare_model
    from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

__all__ = [
    "AGGREGATORS",
    "PAPER_TASKS",
    "DataCollatorForMultiTask",
    "DataCollatorForSentences",
    "ExtraBertConfig",
    "ExtraBertForMultiTask",
    "ExtraBertForParaphrase",
    "ExtraBertForSentiment",
    "ExtraBertForSimilarity",
    "ExtraBertTrainer",
    "ExtraBertTrainingArguments",
    "FinetunedRun",
    "InputError",
    "MultiTaskArguments",
    "MultiTaskDataset",
    "MultiTaskTrainer",
    "Predictions",
    "Predictor",
    "TaskSpec",
    "TrainedModel",
    "finetune",
    "load_model",
    "load_task_data",
    "metrics_for",
    "parse_multitask_run",
    "parse_run",
    "prepare_model",
    "run_finetuning",
    "tokenize_dataset",
]
__version__ = "0.2.0"

_MODULES = {
    "AGGREGATORS": "training.gradient_surgery",
    "PAPER_TASKS": "tasks",
    "DataCollatorForMultiTask": "data.collators",
    "DataCollatorForSentences": "data.collators",
    "ExtraBertConfig": "models.configuration_extrabert",
    "ExtraBertForMultiTask": "models.modeling_multitask_extrabert",
    "ExtraBertForParaphrase": "models.modeling_extrabert",
    "ExtraBertForSentiment": "models.modeling_extrabert",
    "ExtraBertForSimilarity": "models.modeling_extrabert",
    "ExtraBertTrainer": "training.trainer",
    "ExtraBertTrainingArguments": "training.training_arguments",
    "FinetunedRun": "training.one_call",
    "InputError": "errors",
    "MultiTaskArguments": "training.multitask_arguments",
    "MultiTaskDataset": "data.multitask",
    "MultiTaskTrainer": "training.multitask_trainer",
    "Predictions": "inference.predictor",
    "Predictor": "inference.predictor",
    "TaskSpec": "tasks",
    "TrainedModel": "pretrained.loading",
    "finetune": "training.one_call",
    "load_model": "pretrained.loading",
    "load_task_data": "data.loading",
    "metrics_for": "training.trainer_parts",
    "parse_multitask_run": "training.command_line",
    "parse_run": "training.command_line",
    "prepare_model": "training.trainer_parts",
    "run_finetuning": "training.finetune",
    "tokenize_dataset": "data.tokenization",
}
"""Public name -> the module of this package that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _ModelClasses(tuple):
    """
    The model classes, imported when transformers reads this tuple.

    The auto classes get a tuple, so that `from_pretrained` picks the class by the config's `architectures`. If classes
    were registered one by one, the last one would load every folder.
    """

    def __iter__(self) -> Iterator[type]:
        names = ("ExtraBertForSentiment", "ExtraBertForParaphrase", "ExtraBertForSimilarity", "ExtraBertForMultiTask")
        return map(__getattr__, names)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, index: Any) -> Any:
        if index == 0:  # transformers takes the first class if the config names none
            raise ValueError(
                "the config must name its model class in `architectures`, as configs of saved models do, got none of "
                f"{', '.join(model.__name__ for model in self)}: build the model with one of these classes."
            )
        return list(iter(self))[index]


def _register_config(module: ModuleType) -> None:
    config_class = __getattr__("ExtraBertConfig")
    module.AutoConfig.register(config_class.model_type, config_class)


def _register_models(module: ModuleType) -> None:
    config_class, model_classes = __getattr__("ExtraBertConfig"), _ModelClasses()
    module.AutoModel.register(config_class, model_classes)
    module.AutoModelForSequenceClassification.register(config_class, model_classes)


def _resolve_names(module: ModuleType) -> None:
    names = importlib.import_module(f"{__name__}.pretrained.names")
    module.ExtraBertPreTrainedModel.resolve_name = staticmethod(names.resolve_model_name)


# wrapt calls a hook at once if the module is imported already. The hooks import the config only: they can run in the
# middle of an import of transformers, when most of what the models import does not exist yet.
register_post_import_hook(_register_config, "transformers.models.auto.configuration_auto")
register_post_import_hook(_register_models, "transformers.models.auto.modeling_auto")
# the files of models/ are copied to the Hub, where `minilm` is no name: here their `from_backbone` takes it
register_post_import_hook(_resolve_names, f"{__name__}.models.base_extrabert")

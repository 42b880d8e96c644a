"""The README.md of an exported folder, and the metadata of its ONNX file: inputs, outputs, how to run it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from extrabert_hf import __version__
from extrabert_hf.models import ExtraBertPreTrainedModel
from extrabert_hf.models.pipelines_extrabert import DEFAULT_MAX_LENGTH
from extrabert_hf.pretrained.loading import models_by_task
from extrabert_hf.sharing.model_card import card_template, python_string
from extrabert_hf.sharing.servers import Served
from extrabert_hf.tasks import TaskSpec


@dataclass(frozen=True)
class ExportedModel:
    """
    A model that is exported.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            The model.
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of the model.
        source (`str`, *optional*):
            Name of the model without folders of this machine.
    """

    model: ExtraBertPreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str | None = None

    @property
    def tasks(self) -> dict[str, TaskSpec]:
        """The tasks of the model by name."""
        return {name: trained.task for name, trained in models_by_task(self.model, self.tokenizer).items()}

    @property
    def max_length(self) -> int:
        """Number of tokens after which a sentence is truncated, special tokens included."""
        return min(self.tokenizer.model_max_length, self.model.max_tokens or DEFAULT_MAX_LENGTH)

    def metadata(self) -> dict[str, str]:
        """
        Returns the entries of an ONNX file's `metadata_props`; those with several values are JSON.

        For a model of several tasks, `task`, `head`, `labels` and `score_range` are JSON objects or lists by task.
        """
        tasks = self.tasks
        values: dict[str, Any] = {
            "task": list(tasks),
            "head": {name: task.head for name, task in tasks.items()},
            "labels": {name: list(task.class_names) for name, task in tasks.items() if not task.is_regression},
            "score_range": {name: list(task.label_range) for name, task in tasks.items() if task.is_regression},
        }
        if len(tasks) == 1:
            values = {"task": next(iter(tasks))} | {
                key: next(iter(by_task.values())) for key, by_task in values.items() if key != "task" and by_task
            }
        values |= {"max_length": self.max_length, "version": f"extrabert_hf {__version__}"}
        values |= {} if self.source is None else {"source": self.source}
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items() if value}

    def write_onnx_readme(self, folder: Path, outputs: list[str]) -> None:
        """
        Writes README.md into a folder with an ONNX file.

        Args:
            folder (`Path`):
                The folder, with the tokenizer.
            outputs (`list[str]`):
                Names of the outputs of the ONNX file.
        """
        tasks, tokenizer = self.tasks, self.tokenizer
        text = card_template("onnx.md.jinja").render(
            source=self.source,
            tasks=tasks,
            several="logits" not in outputs,
            outputs=outputs,
            is_pair="logits" not in outputs or next(iter(tasks.values())).is_pair,
            width=self.model.config.hidden_size,
            max_length=self.max_length,
            pad_id=tokenizer.pad_token_id,
            pad_token=python_string(tokenizer.pad_token),
            has_tokenizer_file=(folder / "tokenizer.json").is_file(),
            metadata=self.metadata(),
        )
        (folder / "README.md").write_text(text, encoding="utf-8")

    def write_sentence_transformers_readme(
        self, folder: Path, servers: Sequence[Served], *, needs_code: bool, trained_pooling: str
    ) -> None:
        """
        Writes README.md into a folder of sentence-transformers.

        Args:
            folder (`Path`):
                The folder.
            servers (`Sequence[Served]`):
                Which servers load the folder.
            needs_code (`bool`):
                Whether loading the folder needs `trust_remote_code=True`.
            trained_pooling (`str`):
                The pooling that the model was trained with.
        """
        text = card_template("sentence_transformers.md.jinja").render(
            source=self.source,
            servers=servers,
            needs_code=needs_code,
            pooling=self.model.config.pooling,
            trained_pooling=trained_pooling,
            width=self.model.config.hidden_size,
            max_length=self.max_length,
            bounds=self.model.config.similarity_bounds,
            low=self.model.head.low,
            high=self.model.head.high,
        )
        (folder / "README.md").write_text(text, encoding="utf-8")

    def write_stock_readme(self, folder: Path, servers: Sequence[Served], class_name: str, bounds: str) -> None:
        """
        Writes README.md into a folder that `AutoModelForSequenceClassification` loads.

        Args:
            folder (`Path`):
                The folder.
            servers (`Sequence[Served]`):
                Which servers load the folder.
            class_name (`str`):
                Name of the class of the folder's model.
            bounds (`str`):
                `similarity_bounds` of the model.
        """
        (task,) = self.tasks.values()
        text = card_template("stock_classifier.md.jinja").render(
            source=self.source,
            task=task,
            servers=servers,
            class_name=class_name,
            max_length=self.max_length,
            bounds=bounds,
        )
        (folder / "README.md").write_text(text, encoding="utf-8")

"""The models: an encoder with a pooling and a head for one task, or with one of each for every task."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .base_extrabert import ExtraBertOutput, ExtraBertPreTrainedModel, drop_pooler
from .configuration_extrabert import TASK_FIELDS, ExtraBertConfig
from .heads_extrabert import build_head
from .pooling_extrabert import build_pooling


class ExtraBertForOneTask(ExtraBertPreTrainedModel):
    """An encoder, a pooling and a head; the subclasses say which head."""

    head_kind: str

    def __init__(self, config: ExtraBertConfig) -> None:
        if config.tasks is not None:
            raise ValueError(f"`config` must be of one task, as `config.for_task` gives it, got {list(config.tasks)}.")
        super().__init__(config)
        self.pooling = build_pooling(self.config)
        self.head = build_head(self.head_kind, self.config)
        self.post_init()

    def embed(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Encodes sentences, each for itself.

        Args:
            input_ids (`torch.Tensor` of shape `(rows, seq)`):
                Token ids.
            attention_mask (`torch.Tensor` of shape `(rows, seq)`, *optional*):
                1 for a token, 0 for padding; `None` means no padding.

        Returns:
            `tuple[torch.Tensor, torch.Tensor | None]`: vectors `(rows, d)`, and the pooling's weights `(rows, seq)`,
            `None` for the encoder's own pooler.
        """
        return self._pool(self.pooling, input_ids, attention_mask)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_embeddings: bool = False,
        output_pooling_weights: bool = False,
    ) -> ExtraBertOutput:
        """
        Scores a batch of sentences or of pairs; both sentences of a pair go through the encoder in one forward.

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

        Raises:
            `ValueError`: if `input_ids` or `labels` have another shape.
        """
        return self._score(
            self.pooling, self.head, input_ids, attention_mask, labels, output_embeddings, output_pooling_weights
        )


class ExtraBertForSentiment(ExtraBertForOneTask):
    """Classifies one sentence (ExTraBERT, Section 4: SST); five classes, or those of `class_names`."""

    head_kind = "sentiment"


class ExtraBertForParaphrase(ExtraBertForOneTask):
    """Classifies a pair of sentences (ExTraBERT, Section 4: Quora); two classes, or those of `class_names`."""

    head_kind = "paraphrase"


class ExtraBertForSimilarity(ExtraBertForOneTask):
    """Scores a pair of sentences (ExTraBERT, Section 4: STS) with mean squared error as loss."""

    head_kind = "similarity"


MODEL_FOR_HEAD: dict[str, type[ExtraBertForOneTask]] = {
    model.head_kind: model for model in (ExtraBertForSentiment, ExtraBertForParaphrase, ExtraBertForSimilarity)
}
"""The class behind a task's `head`."""


class ExtraBertForMultiTask(ExtraBertPreTrainedModel):
    """
    One encoder with a pooling and a head for each task (ExTraBERT, Section 4: the multitask rows of Table 1).

    `model(task="sts", ...)` scores a batch of one task. The tasks are those of the config's `tasks`, without it the
    paper's three. Only the encoder, `backbone`, is shared; poolings and heads belong to their task.

    Example:
        >>> from transformers import BertConfig
        >>> encoder = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=encoder))
        >>> list(model.heads), model(task="sts", input_ids=torch.ones(4, 2, 3, dtype=torch.long)).logits.shape
        (['sst', 'para', 'sts'], torch.Size([4, 1]))
    """

    def __init__(self, config: ExtraBertConfig) -> None:
        config = copy.copy(config)
        config.tasks = copy.deepcopy(config.tasks or PAPER_TASKS)
        super().__init__(config)
        configs = {task: self.config.for_task(task) for task in self.config.tasks}
        self.poolings = nn.ModuleDict({task: build_pooling(config) for task, config in configs.items()})
        self.heads = nn.ModuleDict(
            {task: build_head(self.config.tasks[task]["head"], config) for task, config in configs.items()}
        )
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        task: str | None = None,
        output_embeddings: bool = False,
        output_pooling_weights: bool = False,
    ) -> ExtraBertOutput:
        """
        Scores a batch of one task.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, seq)`, for a task of pairs `(batch, 2, seq)`):
                Token ids.
            attention_mask (`torch.Tensor` of the same shape, *optional*):
                1 for a token, 0 for padding.
            labels (`torch.Tensor` of shape `(batch,)`, *optional*):
                Class ids, or scores for a similarity head.
            task (`str`):
                The batch's task, always needed; it stands behind the tensors to leave them their usual places.
            output_embeddings (`bool`, defaults to `False`):
                Whether to return the sentence vectors.
            output_pooling_weights (`bool`, defaults to `False`):
                Whether to return the weight of each token; `None` for the encoder's own pooler.

        Raises:
            `ValueError`: if `task` is not one of the model's, or a tensor has another shape.
        """
        self._check_task(task)
        return self._score(
            self.poolings[task],
            self.heads[task],
            input_ids,
            attention_mask,
            labels,
            output_embeddings,
            output_pooling_weights,
        )

    def extract(self, task: str) -> ExtraBertForOneTask:
        """
        Gives the model of one task, the same logits by value.

        It shares its weights with this one and costs no memory; `copy.deepcopy` it to train it on its own.

        Args:
            task (`str`):
                One of the model's tasks.
        """
        self._check_task(task)
        with torch.device("meta"):  # nothing is drawn or allocated: every module is replaced below
            model = MODEL_FOR_HEAD[self.config.tasks[task]["head"]](self.config.for_task(task))
        model.backbone = self.backbone
        if self.poolings[task] is not None and getattr(self.backbone, "pooler", None) is not None:
            model.backbone = copy.copy(self.backbone)
            model.backbone._modules = dict(self.backbone._modules)
            drop_pooler(model.backbone)  # of another task, which keeps it
        model.pooling, model.head = self.poolings[task], self.heads[task]
        return model.train(self.training)

    @classmethod
    def from_single_task(
        cls, models: Mapping[str, ExtraBertForOneTask], *, encoder_from: str | None = None
    ) -> "ExtraBertForMultiTask":
        """
        Joins models of one task each over one encoder; the inverse of [`extract`].

        Args:
            models (`Mapping[str, ExtraBertForOneTask]`):
                The models by the names of their tasks. The joined model shares its weights with them.
            encoder_from (`str`, *optional*):
                Whose encoder to take where they differ; the heads of the others then need training.

        Raises:
            `ValueError`: if the encoders differ and `encoder_from` names none of the tasks, or one whose encoder
            lacks the pooler that another needs.
        """
        if not models:
            raise ValueError("`models` must hold the model of at least one task, got none.")
        if encoder_from is not None and encoder_from not in models:
            raise ValueError(f"`encoder_from` must be one of {list(models)}, got {encoder_from!r}.")
        with_pooler = [task for task, model in models.items() if model.config.pooling == "pooler"]
        source = models[encoder_from or next(iter(with_pooler or models))]
        if with_pooler and getattr(source.backbone, "pooler", None) is None:
            raise ValueError(f"`encoder_from` must have the pooler of {with_pooler[0]!r}, got {encoder_from!r}.")
        for task, model in models.items():
            if encoder_from is None and not _same_weights(source.backbone, model.backbone):
                raise ValueError(
                    f"`models` must have the same encoder, that of {task!r} differs: fine-tuned together or as "
                    "adapters they have, else `encoder_from` says whose to take."
                )
        tasks = {
            task: {"head": model.head_kind} | {name: getattr(model.config, name) for name in TASK_FIELDS}
            for task, model in models.items()
        }
        with torch.device("meta"):
            joined = cls(ExtraBertConfig(backbone_config=source.config.backbone_config, tasks=tasks))
        joined.backbone = source.backbone
        for task, model in models.items():
            joined.poolings[task], joined.heads[task] = model.pooling, model.head
        return joined.train(source.training)

    def _check_task(self, task: str | None) -> None:
        if task not in self.config.tasks:
            raise ValueError(f"`task` must be one of {', '.join(map(repr, self.config.tasks))}, got {task!r}.")


PAPER_TASKS: dict[str, dict[str, Any]] = {
    "sst": {"head": "sentiment"},
    "para": {"head": "paraphrase"},
    "sts": {"head": "similarity"},
}
"""The tasks of a multitask model whose config names none: the paper's (Section 4)."""


def _same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether two encoders agree in all weights; a pooler counts where both have one."""
    first, second = a.state_dict(), b.state_dict()
    only_one_has = first.keys() ^ second.keys()
    return all(name.startswith("pooler.") for name in only_one_has) and all(
        torch.equal(first[name], second[name]) for name in first.keys() & second.keys()
    )

"""The multitask model: one encoder, and a pooling and a head for each task."""

import copy
import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .adapters_extrabert import add_adapters, freeze_encoder, merge_adapters, sentences_of_tasks
from .base_extrabert import ExtraBertPreTrainedModel, drop_pooler
from .configuration_extrabert import TASK_FIELDS, ExtraBertConfig
from .encoder_inputs_extrabert import EncoderInputs
from .forward_extrabert import ExtraBertOutput
from .heads_extrabert import build_head
from .modeling_extrabert import MODEL_FOR_HEAD, ExtraBertForOneTask
from .pooling_extrabert import build_pooling


class ExtraBertForMultiTask(ExtraBertPreTrainedModel):
    """
    One encoder with a pooling and a head for each task (ExTraBERT, Section 4: the multitask rows of Table 1).

    `model(task="sts", ...)` scores a batch of one task. `model(task=["sts", "para"], ...)` scores a batch with rows of
    several tasks. The config's `tasks` define the tasks; the default is the three tasks of the paper. All tasks share
    the encoder, `backbone`. Each task has a separate pooling, a separate head and, optionally, a separate adapter.

    Example:
        >>> from transformers import BertConfig
        >>> encoder = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=encoder))
        >>> list(model.heads), model(task="sts", input_ids=torch.ones(4, 2, 3, dtype=torch.long)).logits.shape
        (['sst', 'para', 'sts'], torch.Size([4, 1]))
    """

    def __init__(self, config: ExtraBertConfig) -> None:
        config = copy.copy(config)
        config.tasks = copy.deepcopy(getattr(config, "tasks", None) or PAPER_TASKS)
        super().__init__(config)
        self._set_encoder(self.backbone)
        configs = {task: self.config.for_task(task) for task in self.config.tasks}
        self.poolings = nn.ModuleDict({task: build_pooling(config) for task, config in configs.items()})
        self.heads = nn.ModuleDict(
            {task: build_head(self.config.tasks[task]["head"], config) for task, config in configs.items()}
        )
        for task, config in configs.items():
            self.config.tasks[task]["class_names"] = list(config.id2label.values())
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> "ExtraBertForMultiTask":
        """As in transformers; also freezes an encoder with adapters again."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # with `output_loading_info`
        if model.adapters:
            freeze_encoder(model.backbone)
        return loaded

    def _set_encoder(self, backbone: PreTrainedModel) -> None:
        super()._set_encoder(backbone)
        if self.adapters:
            add_adapters(backbone, self.adapters)
            self.supports_gradient_checkpointing = False  # the recomputed forward would not have the tasks of the rows

    @property
    def adapters(self) -> dict[str, dict[str, Any]]:
        """The `adapter` of each task that has one in the encoder."""
        return {task: entry["adapter"] for task, entry in self.config.tasks.items() if "adapter" in entry}

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        task: str | Sequence[str] | None = None,
        output_embeddings: bool = False,
        output_pooling_weights: bool = False,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ExtraBertOutput | tuple:
        """
        Scores a batch of one task or of several. The encoder runs once, and once more for each cross-encoder task.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, seq)`, for a task of pairs `(batch, 2, seq)`):
                Token ids.
            attention_mask (`torch.Tensor` of the same shape, *optional*):
                1 for a token, 0 for padding.
            labels (`torch.Tensor` of shape `(batch,)`, *optional*):
                Class ids, or scores for a similarity head.
            task (`str` or `Sequence[str]`):
                The task of the batch, or a task for each row; required. A task of single sentences reads the first
                sentence of a pair. `task` is not the first argument, so that the tensors have the usual order.
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

        Returns:
            [`ExtraBertOutput`]: for rows of several tasks only `logits`, of shape `(batch, C)`, where `C` is the
            largest number of logits of a task. Rows of tasks with fewer logits are filled up with `-inf`.

        Raises:
            `ValueError`: if `task` is not a task of the model, or a tensor has the wrong shape.
        """
        inputs = EncoderInputs.of(input_ids, attention_mask, token_type_ids, inputs_embeds)
        if task is not None and not isinstance(task, str):
            if labels is not None or any(
                (output_embeddings, output_pooling_weights, output_attentions, output_hidden_states)
            ):
                raise ValueError(
                    "`task` must be a single task to compute a loss, embeddings, pooling weights, attentions or "
                    "hidden states."
                )
            return self._returned(ExtraBertOutput(logits=self._logits_of_rows(list(task), inputs)), return_dict)
        pooling, head = self._parts_of(task)
        tokens = inputs.attention_mask
        with self._sequences_of(task, len(tokens) if head.is_cross_encoder else tokens[..., 0].numel()):
            return self._score(
                pooling,
                head,
                inputs,
                labels,
                output_embeddings=output_embeddings,
                output_pooling_weights=output_pooling_weights,
                output_attentions=output_attentions,
                output_hidden_states=output_hidden_states,
                return_dict=return_dict,
            )

    def _logits_of_rows(self, tasks: list[str], inputs: EncoderInputs) -> torch.Tensor:
        count, device = len(inputs.attention_mask), inputs.attention_mask.device
        if len(tasks) != count or not tasks:
            raise ValueError(f"`task` must be one task, or one for each of {count} rows, got {len(tasks)}.")
        rows = {task: [row for row, other in enumerate(tasks) if other == task] for task in dict.fromkeys(tasks)}
        for task in rows:
            self._check_task(task)
        parts = {task: inputs.map(lambda values, rows=numbers: values[rows]) for task, numbers in rows.items()}
        by_task = {
            task: self(**vars(part), task=task, return_dict=True).logits
            for task, part in parts.items()
            if self.heads[task].is_cross_encoder
        }
        if bi_encoders := {task: part for task, part in parts.items() if task not in by_task}:
            by_task |= self._logits_in_one_pass(bi_encoders)
        width = max(logits.shape[-1] for logits in by_task.values())
        dtype = functools.reduce(torch.promote_types, [logits.dtype for logits in by_task.values()])
        padded = torch.full((len(tasks), width), float("-inf"), dtype=dtype, device=device)
        for task, logits in by_task.items():
            padded[rows[task], : logits.shape[-1]] = logits.to(dtype)
        return padded  # (B, C)

    def _logits_in_one_pass(self, parts: dict[str, EncoderInputs]) -> dict[str, torch.Tensor]:
        batches = []
        for task, part in parts.items():  # (n, T) or (n, 2, T)
            if part.attention_mask.dim() == 3 and self.heads[task].sentences_per_row == 1:
                part = part.map(lambda values: values[:, 0])
            self._check_shapes(self.heads[task], part.attention_mask, None)
            batches.append(part.flat())  # (n, T) or (2n, T)
        sizes = [len(batch.attention_mask) for batch in batches]
        together = EncoderInputs(*(_concatenated(tensors) for tensors in zip(*map(_tensors, batches), strict=True)))
        with sentences_of_tasks(list(zip(parts, sizes, strict=True))):
            encoded = self._encode(together, may_unpad=not self.adapters)  # adapters need whole sentences
        states, pooler_output = encoded["last_hidden_state"].split(sizes), encoded.get("pooler_output")
        poolers = states if pooler_output is None else pooler_output.split(sizes)
        by_task = {}
        for task, batch, task_states, task_pooler in zip(parts, batches, states, poolers, strict=True):
            pooling, head = self.poolings[task], self.heads[task]
            vectors = task_pooler if pooling is None else pooling(task_states, batch.attention_mask)[0]
            rows = len(parts[task].attention_mask)  # vectors are (rows, d) or (2 rows, d)
            by_task[task] = head(vectors if head.sentences_per_row == 1 else vectors.view(rows, 2, -1))
        return by_task

    def extract(self, task: str) -> ExtraBertForOneTask:
        """
        Returns the model of one task, with the same logits.

        The returned model shares the weights with this model; use `copy.deepcopy` before you train the returned model.
        If the multitask model has adapters, the encoder is a copy with the adapter of the task merged.

        Args:
            task (`str`):
                One of the model's tasks.
        """
        self._check_task(task)
        with torch.device("meta"):  # nothing is allocated: every module is replaced below
            model = MODEL_FOR_HEAD[self.config.tasks[task]["head"]](self.config.for_task(task))
        model.backbone = merge_adapters(self.backbone, task) if self.adapters else self.backbone
        if self.poolings[task] is not None and getattr(self.backbone, "pooler", None) is not None:
            model.backbone = copy.copy(model.backbone)
            model.backbone._modules = dict(model.backbone._modules)
            drop_pooler(model.backbone)  # a pooler that another task uses; it stays in this model
        model.config.backbone_config = model.backbone.config
        model.pooling, model.head = self.poolings[task], self.heads[task]
        return model.train(self.training)

    @classmethod
    def from_single_task(
        cls, models: Mapping[str, ExtraBertForOneTask], *, encoder_from: str | None = None
    ) -> "ExtraBertForMultiTask":
        """
        Combines models of one task each into a multitask model; the inverse of [`extract`].

        Args:
            models (`Mapping[str, ExtraBertForOneTask]`):
                The models by task name. The multitask model shares the weights of these models.
            encoder_from (`str`, *optional*):
                Task of the model that provides the encoder if the encoders differ. The heads of the other tasks then
                need training.

        Raises:
            `ValueError`: if the encoders differ and `encoder_from` is `None`, or if the chosen encoder has no pooler
                and a task uses the pooler.
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
                    f"`models` must have the same encoder, that of {task!r} differs: choose one with `encoder_from`, "
                    "or train the models together or with adapters."
                )
        tasks = {
            task: {"head": model.head_kind} | {name: getattr(model.config, name) for name in TASK_FIELDS}
            for task, model in models.items()
        }
        if encoder_from is not None:  # the quantiles are of the weights as they were
            for task in tasks.keys() - {encoder_from}:
                tasks[task]["conformal"] = None
        with torch.device("meta"):
            by_length = source.config.encode_by_length
            multitask = cls(
                ExtraBertConfig(backbone_config=source.config.backbone_config, tasks=tasks, encode_by_length=by_length)
            )
        multitask._set_encoder(source.backbone)
        for task, model in models.items():
            multitask.poolings[task], multitask.heads[task] = model.pooling, model.head
        return multitask.train(source.training)

    def _parts_of(self, task: str | None) -> tuple[nn.Module | None, nn.Module]:
        self._check_task(task)
        return self.poolings[task], self.heads[task]

    def _sequences_of(self, task: str | None, count: int) -> AbstractContextManager:
        return sentences_of_tasks([(task, count)])

    def _check_task(self, task: str | None) -> None:
        if task not in self.config.tasks:
            raise ValueError(f"`task` must be one of {', '.join(map(repr, self.config.tasks))}, got {task!r}.")


PAPER_TASKS: dict[str, dict[str, Any]] = {
    "sst": {"head": "sentiment"},
    "para": {"head": "paraphrase"},
    "sts": {"head": "similarity"},
}
"""The default tasks of a multitask model: those of the paper (Section 4)."""


def _tensors(inputs: EncoderInputs) -> tuple[torch.Tensor | None, ...]:
    return tuple(vars(inputs).values())


def _concatenated(tensors: tuple[torch.Tensor | None, ...]) -> torch.Tensor | None:
    return None if tensors[0] is None else torch.cat(tensors)


def _same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether two encoders have equal weights; a pooler is compared only if both have one."""
    first, second = a.state_dict(), b.state_dict()
    only_one_has = first.keys() ^ second.keys()
    return all(name.startswith("pooler.") for name in only_one_has) and all(
        torch.equal(first[name], second[name]) for name in first.keys() & second.keys()
    )

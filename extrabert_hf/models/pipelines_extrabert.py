"""`pipeline()` for sentences and pairs. The file is saved with a model, so that it works without the package."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import Pipeline

from .conformal_extrabert import prediction_intervals, prediction_sets
from .pipeline_names_extrabert import CustomPipelines, pipeline_entry

TEXT_KEYS = ("text", "sentence", "sentence1")
PAIR_KEYS = (("text", "text_pair"), ("sentence1", "sentence2"), ("question1", "question2"))
BATCH_SIZE = 64
DEFAULT_MAX_LENGTH = 512
"""Longest sentence in tokens if neither the tokenizer nor the encoder has a limit."""


def custom_pipelines(names: Iterable[str]) -> CustomPipelines:
    """Returns the config entry with which `pipeline(model=..., trust_remote_code=True)` finds this file."""
    return CustomPipelines({name: pipeline_entry("ExtraBertPipeline") for name in names})


class ExtraBertPipeline(Pipeline):
    """
    Scores sentences or pairs, in batches.

    `pipeline(model=..., trust_remote_code=True)` creates it. For a multitask model the task is the name of the
    pipeline, `pipeline("sts", model=...)`, or an argument of a call, `pipe(pairs, head="sts")`.

    Args:
        top_k (`int`, *optional*, defaults to 1):
            Number of classes to return per row, the most probable first; `None` returns all classes.
        head (`str`, *optional*):
            Task of a multitask model.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def _sanitize_parameters(
        self, top_k: int | str | None = "", head: str | None = None, **tokenization: Any
    ) -> tuple[dict, dict, dict]:
        if top_k is not None and top_k != "" and (not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"`top_k` must be 1 or more, or None for all classes, got {top_k!r}.")
        names = {} if head is None else {"head": head}
        return names | _checked(tokenization), names, names | ({} if top_k == "" else {"top_k": top_k})

    def __call__(self, inputs: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """
        Scores sentences or pairs.

        Args:
            inputs (`str`, `tuple`, `dict`, a `list` of these, a data set or a generator):
                A sentence is a string, or a dict with `"text"`, `"sentence"` or `"sentence1"`; a pair is two strings,
                or a dict with `"text"` and `"text_pair"`, `"sentence1"` and `"sentence2"`, or `"question1"` and
                `"question2"`.
            batch_size (`int`, *optional*):
                Number of rows in a batch; the default is that of the pipeline, or 64.
            kwargs:
                `top_k`, `head`, `num_workers`, and `max_length`, a lower number of tokens after which a sentence is
                truncated. `padding=True` and `truncation=True` change nothing: the pipeline does both.

        Returns:
            A `dict` with `label` and `score` for each row: a class and its probability, or the name of the score and
            its value in the config's `score_range`. If the config has `conformal`, the dict also has a
            `prediction_set`, a list of classes in the order of their ids, or the ends of an interval, `lower` and
            `upper`. With `top_k` each row has a list of dicts with only `label` and `score`. The results are a `list`
            for a list or a single string, as in transformers' pipeline for text classification, and a generator for a
            data set or a generator.

        Raises:
            `ValueError`: if a row has none of these forms, or `head` is not a task of the model.
        """
        size = batch_size or self._batch_size or BATCH_SIZE
        is_pair = self._takes_pairs(kwargs.get("head", self._forward_params.get("head")))
        if isinstance(inputs, (str, dict)) or (is_pair and _is_two_strings(inputs) and not isinstance(inputs, list)):
            (result,) = super().__call__([[_sentences_of(inputs, is_pair)]], batch_size=1, **kwargs)[0]
            return [result] if isinstance(inputs, str) and isinstance(result, dict) else result
        if not isinstance(inputs, (list, tuple)):
            try:
                stream = iter(inputs)
            except TypeError:
                stream = iter([_sentences_of(inputs, is_pair)])  # raises the error that names the allowed forms
            return self._stream(stream, is_pair, size, kwargs)
        rows = [_sentences_of(row, is_pair) for row in inputs]
        if not rows:
            return []
        longest_first = sorted(range(len(rows)), key=lambda index: max(map(len, rows[index])), reverse=True)
        batches = [longest_first[start : start + size] for start in range(0, len(rows), size)]
        results: list[Any] = [None] * len(rows)
        scored = super().__call__([[rows[i] for i in batch] for batch in batches], batch_size=1, **kwargs)
        for batch, batch_results in zip(batches, scored, strict=True):
            for index, result in zip(batch, batch_results, strict=True):
                results[index] = result
        return results

    def _stream(self, inputs: Iterable[Any], is_pair: bool, size: int, kwargs: dict[str, Any]) -> Iterator[Any]:
        def batches() -> Iterator[list[tuple[str, ...]]]:
            batch = []
            for row in inputs:
                batch.append(_sentences_of(row, is_pair))
                if len(batch) == size:
                    yield batch
                    batch = []
            if batch:
                yield batch

        for batch_results in super().__call__(batches(), batch_size=1, **kwargs):
            yield from batch_results

    def preprocess(
        self, batch: list[tuple[str, ...]], head: str | None = None, max_length: int | None = None
    ) -> dict[str, torch.Tensor]:
        """Rows of one sentence or of two -> token ids and mask, `(rows, seq)` or `(rows, 2, seq)`."""
        sentences = [sentence for row in batch for sentence in row]
        longest = min(self.tokenizer.model_max_length, self.model.max_tokens or DEFAULT_MAX_LENGTH)
        length = min(max_length or longest, longest)
        tokens = self.tokenizer(
            sentences, padding=True, padding_side="right", truncation=True, max_length=length, return_tensors="pt"
        )
        shape = (len(batch), -1) if len(batch[0]) == 1 else (len(batch), 2, tokens["input_ids"].shape[-1])
        return {name: tokens[name].view(shape) for name in ("input_ids", "attention_mask")}

    def _forward(self, inputs: dict[str, torch.Tensor], head: str | None = None) -> Any:
        config = self.model.config
        return self.model(**inputs) if config.tasks is None else self.model(task=head or self.task, **inputs)

    def postprocess(self, outputs: Any, top_k: int | str | None = "", head: str | None = None) -> list[Any]:
        """Logits `(rows, num_labels)` -> labels and scores of each row."""
        kind, config = self._kind(head)
        logits = outputs["logits"].float()
        scores = logits.clamp(*config.score_range) if kind == "similarity" else logits.softmax(dim=-1)
        ranked, classes = scores.sort(dim=-1, descending=True, stable=True)
        labelled = [
            [{"label": config.id2label[index], "score": score} for index, score in zip(*row, strict=True)]
            for row in zip(classes.tolist(), ranked.tolist(), strict=True)
        ]
        if top_k != "":
            return [row[:top_k] for row in labelled]
        return [row[0] | more for row, more in zip(labelled, _conformal(logits, kind, config), strict=True)]

    def _takes_pairs(self, head: str | None) -> bool:
        return self._kind(head)[0] != "sentiment"

    def _kind(self, head: str | None) -> tuple[str, Any]:
        """Returns the kind of the head that is used, and the config of the head."""
        config = self.model.config
        if config.tasks is None:
            if head is not None:
                raise ValueError(f"`head` is for a multitask model, this model has one task, got {head!r}.")
            return self.model.head_kind, config
        name = head or self.task
        if name not in config.tasks:
            raise ValueError(f"`head` must be one of {', '.join(map(repr, config.tasks))}, got {name!r}.")
        return config.tasks[name]["head"], config.for_task(name)


class ExtraBertFeatureExtractionPipeline(ExtraBertPipeline):
    """
    Encodes sentences into vectors, in batches: `model.embed` for texts.

    `pipeline("feature-extraction", model=..., trust_remote_code=True)` creates it. The calls are those of
    [`ExtraBertPipeline`] for single sentences, of models of pairs too. Each text gets one vector, a `list` of `d`
    numbers, which is not normalized. For a multitask model `head` selects the task.

    Args:
        return_tensors (`bool`, *optional*, defaults to `False`):
            Whether each vector is a `torch.Tensor` of shape `(d,)` instead of a list.
        head (`str`, *optional*):
            Task of a multitask model; required there.
    """

    def _sanitize_parameters(
        self, return_tensors: bool = False, head: str | None = None, **tokenization: Any
    ) -> tuple[dict, dict, dict]:
        names = {} if head is None else {"head": head}
        return names | _checked(tokenization), names, names | {"return_tensors": return_tensors}

    def _forward(self, inputs: dict[str, torch.Tensor], head: str | None = None) -> Any:
        return {"embeddings": self.model.embed(**inputs, task=head)}

    def postprocess(self, outputs: Any, return_tensors: bool = False, head: str | None = None) -> list[Any]:
        """Vectors `(rows, d)` -> the vector of each row."""
        vectors = outputs["embeddings"].float()
        return list(vectors) if return_tensors else vectors.tolist()

    def _takes_pairs(self, head: str | None) -> bool:
        tasks = self.model.config.tasks
        if tasks is not None and head not in tasks:
            raise ValueError(f"`head` must be one of {', '.join(map(repr, tasks))}, got {head!r}.")
        return False


def _checked(tokenization: dict[str, Any]) -> dict[str, int]:
    """Returns the arguments of `preprocess` among those that pipelines of transformers hand to the tokenizer."""
    due = {"truncation": (True,), "padding": (True, "longest")}
    for name, value in tokenization.items():
        is_length = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if not (is_length if name == "max_length" else value in due.get(name, ())):
            raise ValueError(
                f"the pipeline takes `top_k`, `head`, `batch_size`, `max_length` (1 or more), `truncation=True` and "
                f"`padding=True`, got `{name}={value!r}`."
            )
    return {"max_length": tokenization["max_length"]} if "max_length" in tokenization else {}


def _conformal(logits: torch.Tensor, kind: str, config: Any) -> list[dict[str, Any]]:
    """Returns the prediction set or the interval of each row; empty dicts for a config without quantiles."""
    if config.conformal is None:
        return [{} for _ in logits]
    if kind == "similarity":
        ends = prediction_intervals(logits.squeeze(-1), config.conformal, config.score_range).tolist()
        return [{"lower": lower, "upper": upper} for lower, upper in ends]
    chosen = prediction_sets(logits, config.conformal).tolist()
    return [{"prediction_set": [config.id2label[c] for c, is_in in enumerate(row) if is_in]} for row in chosen]


def _is_two_strings(row: Any) -> bool:
    return isinstance(row, (list, tuple)) and len(row) == 2 and all(isinstance(part, str) for part in row)


def _sentences_of(row: Any, is_pair: bool) -> tuple[str, ...]:
    """Returns the one or two strings of a row."""
    if is_pair and _is_two_strings(row):
        return tuple(row)
    if isinstance(row, str) and not is_pair:
        return (row,)
    if isinstance(row, dict):
        for names in PAIR_KEYS if is_pair else [(key,) for key in TEXT_KEYS]:
            if all(isinstance(row.get(name), str) for name in names):
                return tuple(row[name] for name in names)
    forms = _listed(PAIR_KEYS) if is_pair else _listed([(key,) for key in TEXT_KEYS])
    what = "two strings" if is_pair else "a string"
    raise ValueError(f"a row must be {what}, or a dict of strings with {forms}, got {str(row)[:100]!r}.")


def _listed(forms: Sequence[Sequence[str]]) -> str:
    return " or ".join(" and ".join(map(repr, names)) for names in forms)

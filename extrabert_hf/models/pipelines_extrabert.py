"""`pipeline()` for sentences and for pairs of them; goes with a saved model, so that it needs no package."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import Pipeline

TEXT_KEYS = ("text", "sentence", "sentence1")
PAIR_KEYS = (("text", "text_pair"), ("sentence1", "sentence2"), ("question1", "question2"))
BATCH_SIZE = 64
DEFAULT_MAX_LENGTH = 512
"""Longest sentence in tokens if neither the tokenizer nor the encoder has a limit."""

PIPELINE_FOR_HEAD = {
    "sentiment": "text-classification",
    "paraphrase": "text-classification",
    "similarity": "sentence-similarity",
}
"""What `pipeline()` calls the work of a model of one task; that of a multitask model has the tasks' names."""


def custom_pipelines(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Gives the config's entry that leads `pipeline(model=..., trust_remote_code=True)` to this file."""
    return {name: {"impl": "pipelines_extrabert.ExtraBertPipeline", "pt": ["AutoModel"]} for name in names}


class ExtraBertPipeline(Pipeline):
    """
    Scores sentences or pairs, in batches.

    `pipeline(model=..., trust_remote_code=True)` makes it. Of a model of several tasks it does the one that is its
    name, `pipeline("sts", model=...)`, or that a call names, `pipe(pairs, head="sts")`.

    Args:
        top_k (`int`, *optional*, defaults to 1):
            How many classes to give of each row, the likeliest first; `None` is all of them.
        head (`str`, *optional*):
            Which task of a model of several.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def _sanitize_parameters(self, top_k: int | str | None = "", head: str | None = None) -> tuple[dict, dict, dict]:
        if top_k is not None and top_k != "" and (not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"`top_k` must be 1 or more, or None for all classes, got {top_k!r}.")
        names = {} if head is None else {"head": head}
        return names, names, names | ({} if top_k == "" else {"top_k": top_k})

    def __call__(self, inputs: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """
        Scores what it is given.

        Args:
            inputs (`str`, `tuple`, `dict`, a `list` of these, a data set or a generator):
                A sentence is a string, or a dict with `"text"`, `"sentence"` or `"sentence1"`; a pair is two strings,
                or a dict with `"text"` and `"text_pair"`, `"sentence1"` and `"sentence2"`, or `"question1"` and
                `"question2"`.
            batch_size (`int`, *optional*):
                Rows scored together; 64 unless the pipeline was made with another.
            kwargs:
                `top_k`, `head`, `num_workers`.

        Returns:
            `dict` for a row, a `list` of them for a list or a single string, as from transformers' own pipeline for
            text classification; a generator for a data set or a generator. Each has `label` and `score`: a class and
            its probability, or the name of the score and its value in the config's `score_range`. With `top_k` each
            row has a list of such dicts.

        Raises:
            `ValueError`: if a row has another form than those above, or `head` is not one of the model's.
        """
        size = batch_size or self._batch_size or BATCH_SIZE
        is_pair = self._kind(kwargs.get("head", self._forward_params.get("head")))[0] != "sentiment"
        if isinstance(inputs, (str, dict)) or (is_pair and _is_two_strings(inputs) and not isinstance(inputs, list)):
            (result,) = super().__call__([[_sentences_of(inputs, is_pair)]], batch_size=1, **kwargs)[0]
            return [result] if isinstance(inputs, str) and isinstance(result, dict) else result
        if not isinstance(inputs, (list, tuple)):
            try:
                stream = iter(inputs)
            except TypeError:
                stream = iter([_sentences_of(inputs, is_pair)])  # which says what a row is
            return self._stream(stream, is_pair, size, kwargs)
        rows = [_sentences_of(row, is_pair) for row in inputs]
        if not rows:
            return []
        longest_first = sorted(range(len(rows)), key=lambda index: max(map(len, rows[index])), reverse=True)
        batches = [longest_first[start : start + size] for start in range(0, len(rows), size)]
        results: list[Any] = [None] * len(rows)
        scored = super().__call__([[rows[i] for i in batch] for batch in batches], batch_size=1, **kwargs)
        for batch, of_batch in zip(batches, scored, strict=True):
            for index, result in zip(batch, of_batch, strict=True):
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

        for of_batch in super().__call__(batches(), batch_size=1, **kwargs):
            yield from of_batch

    def preprocess(self, batch: list[tuple[str, ...]], head: str | None = None) -> dict[str, torch.Tensor]:
        """Rows of one sentence or of two -> token ids and mask, `(rows, seq)` or `(rows, 2, seq)`."""
        sentences = [sentence for row in batch for sentence in row]
        length = min(self.tokenizer.model_max_length, self.model.config.max_positions or DEFAULT_MAX_LENGTH)
        tokens = self.tokenizer(sentences, padding=True, truncation=True, max_length=length, return_tensors="pt")
        shape = (len(batch), -1) if len(batch[0]) == 1 else (len(batch), 2, tokens["input_ids"].shape[-1])
        return {name: tokens[name].view(shape) for name in ("input_ids", "attention_mask")}

    def _forward(self, inputs: dict[str, torch.Tensor], head: str | None = None) -> Any:
        config = self.model.config
        return self.model(**inputs) if config.tasks is None else self.model(task=head or self.task, **inputs)

    def postprocess(self, outputs: Any, top_k: int | str | None = "", head: str | None = None) -> list[Any]:
        """Logits `(rows, num_labels)` -> what each row is given."""
        kind, config = self._kind(head)
        logits = outputs["logits"].float()
        scores = logits.clamp(*config.score_range) if kind == "similarity" else logits.softmax(dim=-1)
        ranked, classes = scores.sort(dim=-1, descending=True, stable=True)
        labelled = [
            [{"label": config.id2label[index], "score": score} for index, score in zip(*row, strict=True)]
            for row in zip(classes.tolist(), ranked.tolist(), strict=True)
        ]
        return [row[0] for row in labelled] if top_k == "" else [row[:top_k] for row in labelled]

    def _kind(self, head: str | None) -> tuple[str, Any]:
        """Gives the kind of head that answers, and its config."""
        config = self.model.config
        if config.tasks is None:
            if head is not None:
                raise ValueError(f"`head` is for a model of several tasks, this one has one, got {head!r}.")
            return self.model.head_kind, config
        name = head or self.task
        if name not in config.tasks:
            raise ValueError(f"`head` must be one of {', '.join(map(repr, config.tasks))}, got {name!r}.")
        return config.tasks[name]["head"], config.for_task(name)


def _is_two_strings(row: Any) -> bool:
    return isinstance(row, (list, tuple)) and len(row) == 2 and all(isinstance(part, str) for part in row)


def _sentences_of(row: Any, is_pair: bool) -> tuple[str, ...]:
    """Gives the one string or the two that a row holds."""
    if is_pair and _is_two_strings(row):
        return tuple(row)
    if isinstance(row, str) and not is_pair:
        return (row,)
    if isinstance(row, dict):
        for names in PAIR_KEYS if is_pair else [(key,) for key in TEXT_KEYS]:
            if all(isinstance(row.get(name), str) for name in names):
                return tuple(row[name] for name in names)
    forms = _told(PAIR_KEYS) if is_pair else _told([(key,) for key in TEXT_KEYS])
    what = "two strings" if is_pair else "a string"
    raise ValueError(f"a row must be {what}, or a dict of strings with {forms}, got {str(row)[:100]!r}.")


def _told(forms: Sequence[Sequence[str]]) -> str:
    return " or ".join(" and ".join(map(repr, names)) for names in forms)

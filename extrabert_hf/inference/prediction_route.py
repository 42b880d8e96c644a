"""The JSON route of the demo: predictions of the models for the sentences of one request."""

import json
from collections.abc import Mapping
from typing import Any

from extrabert_hf.errors import InputError, one_line, shorten
from extrabert_hf.inference.prediction_columns import DIGITS
from extrabert_hf.inference.predictor import Predictions, Predictor
from extrabert_hf.pretrained.loading import TrainedModel

MAX_CHARACTERS = 10_000
"""Number of characters of the longest text that is predicted."""
FIELDS = ("sentence1", "sentence2", "model", "task")
EXAMPLE = '{"sentence1": "A warm film.", "sentence2": "A good film."}'


def predict_request(models: Mapping[str, Mapping[str, TrainedModel]], body: bytes) -> dict[str, Any]:
    """
    Predicts the sentences of a request with each model that fits.

    Args:
        models (`Mapping[str, Mapping[str, TrainedModel]]`):
            By task, the models by name.
        body (`bytes`):
            A JSON object with `sentence1` and, optionally, `sentence2`, `model` (a name) and `task`. Without
            `sentence2`, the tasks of pairs are left out; a task of single sentences predicts `sentence1`.

    Returns:
        `dict[str, Any]`: `predictions`, a list of objects with `task`, `model` and, for classes, `predicted_class`,
        `class_id` and `probabilities` (by class), or for scores `predicted_score`.

    Raises:
        [`InputError`]: if the body is not of this form, or no model fits.
    """
    request = _checked_request(body)
    first, second = request["sentence1"], request.get("sentence2")
    names = list(dict.fromkeys(name for of_task in models.values() for name in of_task))
    for field, allowed in (("task", list(models)), ("model", names)):
        if request.get(field) not in (None, *allowed):
            raise InputError(f"`{field}` must be one of {shorten(str(allowed))}, got {shorten(repr(request[field]))}.")
    chosen = [
        (task, name, trained)
        for task, of_task in models.items()
        for name, trained in of_task.items()
        if request.get("task") in (None, task) and request.get("model") in (None, name)
    ]
    if not chosen:
        raise InputError(f"`model` {request['model']!r} does not have the `task` {request['task']!r}.")
    pairs = [each for each in chosen if each[2].task.is_pair]
    if second is not None and not pairs:
        raise InputError("`sentence2` must be left out for a task of single sentences: send one request a sentence.")
    if second is None:
        chosen = [each for each in chosen if each not in pairs]
    if not chosen:
        raise InputError("`sentence2` must be the second sentence for a task of pairs, got none.")
    return {"predictions": [_prediction(*each, first, second) for each in chosen]}


def _checked_request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:  # also for bytes that are not UTF-8
        raise InputError(f"the body must be JSON such as {EXAMPLE}, got: {one_line(error)}.") from error
    if not isinstance(request, dict):
        raise InputError(f"the body must be a JSON object such as {EXAMPLE}, got {shorten(json.dumps(request))}.")
    for name, value in request.items():
        if name not in FIELDS:
            raise InputError(f"the names of the body must be of {', '.join(FIELDS)}, got {shorten(repr(name))}.")
        if not isinstance(value, str) and (value is not None or name == "sentence1"):
            raise InputError(f"`{name}` must be a text, got {shorten(json.dumps(value))}.")
    for name in ("sentence1", "sentence2"):
        text = request.get(name)
        if text is None and name == "sentence2":
            continue
        if not (text or "").strip() or len(text) > MAX_CHARACTERS or not _is_unicode(text):
            got = "none" if text is None else f"{len(text):,}"
            raise InputError(f"`{name}` must be a text of 1 to {MAX_CHARACTERS:,} characters of Unicode, got {got}.")
    return request


def _is_unicode(text: str) -> bool:
    """Whether the text has no lone surrogate, which a tokenizer refuses."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _prediction(task: str, name: str, trained: TrainedModel, first: str, second: str | None) -> dict[str, Any]:
    sentences = (first, second) if trained.task.is_pair else (first,)
    logits = Predictor((trained,)).logits(*([sentence] for sentence in sentences))
    predictions = Predictions(trained.task, ["0"], [sentences], logits)
    record: dict[str, Any] = {"task": task, "model": name}
    if predictions.probabilities is None:
        return record | {"predicted_score": round(float(predictions.values[0]), DIGITS)}
    probabilities = [round(float(probability), DIGITS) for probability in predictions.probabilities[0]]
    return record | {
        "predicted_class": predictions.names[0],
        "class_id": int(predictions.values[0]),
        "probabilities": dict(zip(trained.task.class_names, probabilities, strict=True)),
    }

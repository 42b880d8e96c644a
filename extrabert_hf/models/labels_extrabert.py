"""The names of the classes: `class_names` of this package, `num_labels`, `id2label`, `label2id` of transformers."""

import logging
from collections.abc import Mapping
from typing import Any

LABEL_FIELDS = ("id2label", "label2id", "class_names", "num_labels")
"""The fields that name the classes of a head. A config keeps them equal; in a saved config, an earlier one counts."""

logger = logging.getLogger(__name__)


def names_of(labels: Mapping[str, Any]) -> list[str] | None:
    """
    Returns the names of the classes in the order of their ids; `None` if no field names the classes.

    Args:
        labels (`Mapping[str, Any]`):
            Some of [`LABEL_FIELDS`].

    Raises:
        `ValueError`: if the ids are not 0 to N-1, or two fields contradict each other.

    Example:
        >>> names_of({"id2label": {"1": "good", "0": "bad"}, "num_labels": 2}), names_of({"num_labels": 2})
        (['bad', 'good'], ['LABEL_0', 'LABEL_1'])
    """
    found = {}
    for field in LABEL_FIELDS[:-1]:
        value = labels.get(field)
        if field == "class_names" and value:
            found[field] = list(value)
        elif value:
            pairs = value.items() if field == "id2label" else [(index, name) for name, index in value.items()]
            found[field] = _in_order(field, list(pairs))
    count = labels.get("num_labels")
    if count is not None and (not isinstance(count, int) or count < 1):
        raise ValueError(f"`num_labels` must be a whole number, 1 or more, got {count!r}.")
    if not found:
        return None if count is None else [f"LABEL_{index}" for index in range(count)]
    field, names = next(iter(found.items()))
    for other, other_names in found.items():
        if other_names != names:
            raise ValueError(f"`{field}` and `{other}` must name the same classes, got {names} and {other_names}.")
    if count is not None and count != len(names):
        raise ValueError(f"`num_labels` must be {len(names)}, the number of classes in `{field}`, got {count}.")
    return names


def with_labels(fields: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """
    Replaces the labels of a saved config, or of one of its tasks, by the labels that a user passes.

    Args:
        fields (`Mapping[str, Any]`):
            Fields of the config; its labels can be in any of [`LABEL_FIELDS`].
        chosen (`Mapping[str, Any]`):
            Some of [`LABEL_FIELDS`]. If only `num_labels` is passed and equal, the saved names stay.

    Returns:
        `dict[str, Any]`: the fields, with the labels under `class_names`.

    Raises:
        `ValueError`: as [`names_of`].
    """
    others = {field: value for field, value in fields.items() if field not in LABEL_FIELDS}
    saved = [names_of({field: fields[field]}) for field in LABEL_FIELDS[:-1] if fields.get(field)]
    if not chosen and any(names != saved[0] for names in saved):
        logger.warning("The config names its classes in several ways: %s are used, not %s.", saved[0], saved[1:])
    names = names_of({"class_names": saved[0] if saved else None, "num_labels": fields.get("num_labels")})
    if chosen and (set(chosen) != {"num_labels"} or names is None or len(names) != chosen["num_labels"]):
        others = {field: value for field, value in others.items() if field != "conformal"}  # of the saved classes
        names = names_of(chosen)
    return others if names is None else others | {"class_names": names}


def tasks_with_labels(tasks: dict[str, dict], chosen: dict[str, Any]) -> dict[str, dict]:
    """Returns the tasks; those that classify have the labels in `chosen`."""
    return {
        name: task if task.get("head") == "similarity" else with_labels(task, chosen) for name, task in tasks.items()
    }


def with_fields(saved: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns a saved task with the fields that a user passes."""
    chosen = {field: value for field, value in given.items() if field in LABEL_FIELDS and value is not None}
    others = {field: value for field, value in given.items() if field not in LABEL_FIELDS}
    return with_labels(saved | others, chosen)


def _in_order(field: str, pairs: list[tuple[Any, str]]) -> list[str]:
    """Pairs of an id, as a number or as a string, and a name -> the names in the order of the ids."""
    names = {int(index): name for index, name in pairs if str(index).isdecimal()}
    if sorted(names) != list(range(len(pairs))):
        raise ValueError(f"`{field}` must have each id from 0 to {len(pairs) - 1} once, got {[i for i, _ in pairs]}.")
    return [names[index] for index in range(len(names))]

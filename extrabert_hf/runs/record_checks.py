"""Checks that the values of a record have the types of its dataclass: a JSON file can hold anything."""

import sys
import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from extrabert_hf.errors import InputError, printable

NAMES = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", type(None): "null"}


def check_types(value: Any, kind: Any, where: str) -> None:
    """
    Raises an [`InputError`] for the first value without the type of its annotation.

    Args:
        value (`Any`):
            A dataclass, or a value of one of its fields.
        kind (`Any`):
            The annotation: a dataclass, `int`, `float`, `str`, `bool`, `None`, `Any`, `Literal`, a union, `dict`,
            `list` or `tuple`. An `int` is a valid `float`, a `bool` is not a valid `int`.
        where (`str`):
            The name of the value in the message.

    Example:
        >>> check_types({"dev": 9, "test": "many"}, dict[str, int], "rows")
        Traceback (most recent call last):
        ...
        extrabert_hf.errors.InputError: `rows.test` must be a whole number, got 'many'
    """
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return
    if origin in (Union, types.UnionType):
        _check_union(value, arguments, where)
    elif is_dataclass(kind):
        _need(isinstance(value, kind), value, kind.__name__, where)
        hints = get_type_hints(kind)
        for field in fields(kind):
            check_types(getattr(value, field.name), hints[field.name], f"{where}.{field.name}".lstrip("."))
    elif origin is Literal:
        _need(value in arguments, value, f"one of {', '.join(map(repr, arguments))}", where)
    elif origin is dict:
        _need(isinstance(value, dict), value, "an object", where)
        for name, each in value.items():
            check_types(name, arguments[0], f"a name in {where}")
            check_types(each, arguments[1], f"{where}.{printable(name, 40)}")
    elif origin in (list, tuple):
        _check_sequence(value, origin, arguments, where)
    elif kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        _need(is_number, value, NAMES[float], where)
    else:
        _need(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), value, NAMES[kind], where)


def _check_union(value: Any, kinds: tuple[Any, ...], where: str) -> None:
    for kind in kinds:
        try:
            check_types(value, kind, where)
        except InputError:
            continue  # the next kind may fit
        break
    else:
        check_types(value, kinds[0], where)  # raises the error of the first kind


def _check_sequence(value: Any, origin: type, kinds: tuple[Any, ...], where: str) -> None:
    _need(isinstance(value, origin), value, "a list", where)
    if origin is tuple and kinds[-1] is not Ellipsis:
        _need(len(value) == len(kinds), value, f"a list of {len(kinds)}", where)
        for each, kind in zip(value, kinds, strict=True):
            check_types(each, kind, where)
    else:
        for each in value:
            check_types(each, kinds[0], where)


def _need(is_right: bool, value: Any, form: str, where: str) -> None:
    if not is_right:
        raise InputError(f"`{where}` must be {form}, got {printable(repr(value), 80)}")

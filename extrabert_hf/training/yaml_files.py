"""Reads YAML files of users: plain data of bounded size, each key once."""

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from extrabert_hf.errors import InputError, one_line

MAX_BYTES = 2**20
MAX_NODES = 20_000
MAX_DEPTH = 20
"""Limits of a file: its size, its values with each alias counted in full, and its levels. A run has a few hundred
values on four levels."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which builds no Python objects. Limits the file and refuses a key that is given twice."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ComposerError(None, None, f"more than {MAX_DEPTH} levels", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > MAX_NODES:
            raise ComposerError(None, None, f"more than {MAX_NODES:,} values, aliases included", node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            before = first.setdefault(key.value, key) if isinstance(key, yaml.ScalarNode) else key
            if before is not key:
                line = before.start_mark.line + 1
                raise ComposerError(None, None, f"the key {key.value!r} is already in line {line}", key.start_mark)
        return node


def read_yaml(path: str | Path, argument: str) -> Any:
    """
    Reads a YAML file.

    Args:
        path (`str` or `Path`):
            The file, at most 1 MB of UTF-8. Anchors and aliases are allowed.
        argument (`str`):
            The argument that names the file, for the error message.

    Raises:
        [`InputError`]: if the file can't be read, is not plain YAML, has a key twice in one mapping, or is too large.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"`{argument}` must be a YAML file of at most {MAX_BYTES:,} bytes, got more in {path}.")
        loader = _Loader(content.decode("utf-8"))
        loader.name = Path(path).name
        return loader.get_single_data()
    except OSError as error:
        raise InputError(f"`{argument}` must be a YAML file that can be read, {path}: {error.strerror}.") from error
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # `ValueError`: no UTF-8, a date or number that Python does not read
        raise InputError(f"`{argument}` must be YAML, {path}: {one_line(error)}.") from error


def _size(node: Any, sizes: dict[int, int]) -> int:
    """Counts the values of a node with each alias counted in full. A node that contains itself is too large."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = MAX_NODES + 1  # until the node is counted: its value counts if it contains itself
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(node)]

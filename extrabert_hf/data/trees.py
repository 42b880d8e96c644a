"""
Reads sentences and phrases from PTB trees with a label at each node, such as the Stanford Sentiment Treebank.

A file has one tree a line, `(label child child)`. The words of a node, with a space between two words, are a text with
the node's label: the root is the sentence, the other nodes are its phrases. Words stay as they are in the file
(`-LRB-`, `n't`), as in the sentence files that are made of such trees.
"""

import re
from collections.abc import Iterable

from extrabert_hf.data.labels import BadValueError
from extrabert_hf.data.rejected_rows import RejectedRow, Rows
from extrabert_hf.errors import shorten

TREE = re.compile(r"\s*\(\d+[ (][^\t]*\)\s*")
"""A line of a file of trees. Sentences in brackets have this form only if they start with a number."""
TOKEN = re.compile(r"[ \t\r\n]*(?:\(([^ \t\r\n()]+)(?:[ \t]+([^ \t\r\n()]+)[ \t]*\))?|(\))|([^ \t\r\n()]+|\())")
"""The start of a node with its label, the word and the end of the node if it is a leaf; or an end, or another text."""
LINES_PEEKED = 20
"""Number of lines that decide whether a file has trees."""

Node = tuple[str, int, int]
"""The label of a node, and the range of its words: first, and last + 1."""


def are_trees(lines: Iterable[str]) -> bool:
    """
    Returns whether most lines of a text are trees.

    Example:
        >>> are_trees(["(3 (2 A) (3 (3 good) (2 film)))"]), are_trees(["(3 stars) A good film.", "Bad."])
        (True, False)
    """
    filled = [line for line in lines if line.strip()]
    return 2 * sum(TREE.fullmatch(line) is not None for line in filled) > len(filled)


def parse_tree(text: str) -> tuple[list[str], list[Node]]:
    """
    Parses one tree: returns the words of its sentence, and its nodes in the order of the text, the root first.

    Raises:
        [`BadValueError`]: if the text is not one tree whose labels are whole numbers.

    Example:
        >>> parse_tree("(3 (2 A) (3 (3 good) (2 film)))")
        (['A', 'good', 'film'], [('3', 0, 3), ('2', 0, 1), ('3', 1, 3), ('3', 1, 2), ('2', 2, 3)])
    """
    words: list[str] = []
    nodes: list[Node] = []
    opened: list[int] = []  # places in `nodes`
    for label, word, end, other in TOKEN.findall(text):
        if nodes and not opened:
            raise BadValueError("brackets of the tree do not match" if end else "text after the tree")
        if label:
            if not word:
                opened.append(len(nodes))
            nodes.append((label, len(words), len(words) + 1))
            if word:
                words.append(word)
        elif end and opened:
            place = opened.pop()
            label, first, _ = nodes[place]
            if first == len(words):
                raise BadValueError("a node of the tree has no words")
            nodes[place] = label, first, len(words)
        elif end:
            raise BadValueError("brackets of the tree do not match")
        else:
            reason = "a node of the tree has no label" if other == "(" else "a word of the tree has no node"
            raise BadValueError(reason, shorten(other, 40))
    if opened:
        raise BadValueError("the tree does not end in its line")
    if not nodes:
        raise BadValueError("empty tree")
    for label in {label for label, _, _ in nodes}:
        if not label.isdecimal():
            raise BadValueError("label of a node of the tree is no class id", shorten(label, 40))
    return words, nodes


def parse_sentences(lines: Iterable[str], name: str) -> Rows:
    """
    Yields the sentence of each tree with the label of the root; a line that is no tree becomes a [`RejectedRow`].

    Args:
        lines (iterable over `str`s):
            The lines.
        name (`str`):
            Name of the file in a rejected row.
    """
    for line, text in enumerate(lines, start=1):
        try:
            words, nodes = parse_tree(text)
        except BadValueError as error:
            yield RejectedRow.of(name, line, error.reason, text.strip(), error.value)
            continue
        yield line, {"sentence": " ".join(words), "label": nodes[0][0]}


def parse_phrases(lines: Iterable[str], min_words: int) -> Rows:
    """
    Yields the phrases of each tree, that is all nodes but the root, with their labels; a line that is no tree is left
    to [`parse_sentences`].

    The id of a phrase is the line of its tree and the number of its node, such as `"12.3"`.

    Args:
        lines (iterable over `str`s):
            The lines.
        min_words (`int`):
            Number of words of the shortest phrase; only words with a letter or a digit count.
    """
    for line, text in enumerate(lines, start=1):
        try:
            words, nodes = parse_tree(text)
        except BadValueError:
            continue
        counted = [0]
        for word in words:
            counted.append(counted[-1] + any(map(str.isalnum, word)))
        for number, (label, first, end) in enumerate(nodes[1:], start=1):
            if counted[end] - counted[first] >= min_words:
                yield line, {"sentence": " ".join(words[first:end]), "label": label, "id": f"{line}.{number}"}

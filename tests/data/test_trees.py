import io
import random
import sys

import pytest

from extrabert_hf.data.loading import load_split, load_task_data
from extrabert_hf.data.reading import has_trees, read_phrases, read_rows
from extrabert_hf.data.rejected_rows import RejectedRow
from extrabert_hf.data.trees import are_trees, parse_tree
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

SST = PAPER_TASKS["sst"]
TREE = "(3 (2 (2 The) (2 film)) (3 (2 is) (4 (2 very) (3 (3 good) (2 .)))))"


def write(path, *lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def random_tree(rng, depth=5):
    """A tree, and the words and the labels of its nodes as they should be read, the root first."""
    label = str(rng.randrange(5))
    if depth == 0 or rng.random() < 0.2:
        word = rng.choice(["good", "n't", "-LRB-", "co-writer\\/director", "8\u00a01\\/2", "``", ",", "ein\u00adfach"])
        return f"({label} {word})", [(label, [word])]
    children = [random_tree(rng, depth - 1) for _ in range(rng.choice([1, 2, 2, 3]))]
    words = [word for _, nodes in children for word in nodes[0][1]]
    inner = [node for _, nodes in children for node in nodes]
    return f"({label} {' '.join(text for text, _ in children)})", [(label, words), *inner]


def test_the_words_of_each_node_and_its_label_are_read():
    rng = random.Random(0)
    for _ in range(200):
        text, expected = random_tree(rng)
        words, nodes = parse_tree(text)
        assert [(label, words[first:end]) for label, first, end in nodes] == expected


def test_spaces_between_brackets_do_not_matter():
    assert parse_tree("  (3  (2 a)(3\t(3 good )(2 film) ) )\r\n") == parse_tree("(3 (2 a) (3 (3 good) (2 film)))")


BROKEN = {
    "(3 (2 a) (3 good)": "the tree does not end in its line",
    "(3 (2 a) (3 good)))": "brackets of the tree do not match",
    "(3 (2 a) (3 good)) (2 film)": "text after the tree",
    "(3 (2 a) good)": "a word of the tree has no node",
    "(3 two words)": "a word of the tree has no node",
    "((2 a) (3 good))": "a node of the tree has no label",
    "(3 (2 a) ( (3 good)))": "a node of the tree has no label",
    "(3 (2 a) (2 ))": "a node of the tree has no words",
    "(3 (x a) (3 good))": "label of a node of the tree is no class id: x",
    "(3 (-1 a) (3 good))": "label of a node of the tree is no class id: -1",
    "": "empty tree",
    "   ": "empty tree",
    "no tree at all": "a word of the tree has no node: no",
}


@pytest.mark.parametrize("line", BROKEN)
def test_a_line_that_is_no_tree_is_rejected_with_its_number(line, tmp_path):
    path = write(tmp_path / "trees.txt", TREE, TREE, line, TREE)
    rows = list(read_rows(path))
    assert [isinstance(row, RejectedRow) for row in rows] == [False, False, True, False]
    assert f"{rows[2].reason}: {rows[2].value}".startswith(BROKEN[line]) and rows[2].line == 3
    assert [line for line, *_ in read_phrases(path, 1)] == [1] * 9 + [2] * 9 + [4] * 9


def test_a_label_that_is_no_class_of_the_task_is_rejected(tmp_path):
    path = write(tmp_path / "trees.txt", *[TREE] * 20, "(7 (2 a) (3 good))")
    (rejected,) = load_split(SST, str(path)).rejected
    assert (rejected.line, rejected.value) == (21, "7") and rejected.reason.startswith("label is not")


def test_sentences_are_the_rows_of_a_file_of_trees(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split, count in (("train", 8), ("dev", 4), ("test", 2)):
        write(folder / f"{split}.txt", *(f"({i % 5} (2 film) ({i % 5} {split}{i}))" for i in range(count)))
    loaded = load_task_data(SST, folder)
    assert {split: len(rows) for split, rows in loaded.splits.items()} == {"train": 8, "dev": 4, "test": 2}
    assert loaded.splits["train"][6] == {"sentence1": "film train6", "label": 1, "id": "7", "line": 7}
    single = load_task_data(SST, folder / "train.txt", dev_data=folder / "dev.txt", test_data=folder / "test.txt")
    assert {name: rows[:] for name, rows in single.splits.items()} == {
        name: rows[:] for name, rows in loaded.splits.items()
    }


def test_trees_on_standard_input_are_sentences(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{TREE}\n".encode())))
    assert list(read_rows("-")) == [(1, {"sentence": "The film is very good .", "label": "3"})]


@pytest.mark.parametrize(
    "lines",
    [
        ["A good film.", TREE, "A bad film."],
        ["(3 stars) A good film.", "(1 star) A bad one."],
        ["(A good film)", "(and a bad one)"],
        ["2 films (both good)"],
        [],
        ["", ""],
    ],
)
def test_a_text_with_few_trees_stays_text(lines, tmp_path):
    path = write(tmp_path / "rows.txt", *lines)
    assert not are_trees(lines) and not has_trees(path)
    assert [row for _, row in read_rows(path)] == [{"sentence1": line} for line in lines]


def test_only_txt_files_have_trees(tmp_path):
    path = write(tmp_path / "rows.csv", "text,label", f'"{TREE}",3', f'"{TREE}",3')
    assert not has_trees(path)
    assert next(iter(read_rows(path)))[1]["text"] == TREE


def test_phrases_are_the_nodes_below_the_root_with_enough_words(tmp_path):
    path = write(tmp_path / "trees.txt", TREE)
    assert [(row["sentence"], row["label"], row["id"]) for _, row in read_phrases(path, 2)] == [
        ("The film", "2", "1.1"),
        ("is very good .", "3", "1.4"),
        ("very good .", "4", "1.6"),  # "good ." has one word
    ]
    assert len(list(read_phrases(path, 1))) == 9  # all but the root and "."


def test_a_task_of_pairs_takes_no_trees(tmp_path):
    path = write(tmp_path / "trees.txt", TREE, TREE)
    with pytest.raises(InputError, match=r"trees\.txt has no column for `sentence2`"):
        load_split(PAPER_TASKS["para"], str(path))

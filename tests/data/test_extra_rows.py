import csv
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from extrabert_hf.data.audit_report import audit_page, read_audit, write_audit
from extrabert_hf.data.auditing import audit, text_keys
from extrabert_hf.data.extra_rows import Phrases, add_extra_rows
from extrabert_hf.data.loading import load_task_data
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.scores import majority_baseline
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec
from extrabert_hf.training.arguments import DataArguments

SST, PARA, STS = PAPER_TASKS.values()
OWN = TaskSpec("own", "sentiment", class_names=("bad", "fair", "good"))
REAL = Path(os.environ.get("EXTRABERT_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_real_data = pytest.mark.skipif(not (REAL / "extra").is_dir(), reason="the CS224N files are not at hand")


def write(path, rows, names=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def splits(folder, train, dev, test, names=("text", "label")):
    folder.mkdir(exist_ok=True)
    for name, rows in (("train", train), ("dev", dev), ("test", test)):
        write(folder / f"{name}.csv", rows, names)
    return folder


@pytest.fixture
def loaded(tmp_path):
    """Rows of one sentence: train has "good film", dev and test have a row each that others repeat."""
    folder = splits(
        tmp_path / "data",
        [("Good film", "good"), ("bad film", "bad"), ("so so", "fair")],
        [("It's a dev row!", "good"), ("bad", "bad"), ("ok", "fair")],
        [("A test row.", "good"), ("bad, too", "bad"), ("ok, too", "fair")],
    )
    return load_task_data(OWN, folder)


def texts(loaded, split="train"):
    return loaded.splits[split]["sentence1"][:]


def test_each_further_row_is_added_or_counted_with_a_reason(loaded, tmp_path, caplog):
    rows = [
        ("new one", "good"),
        ("GOOD  film", "good"),  # in train
        ("good film", "bad"),  # in train, with another label
        ("it 's a DEV row", "good"),  # in dev
        ("a test row", "bad"),  # in test
        ("New one", "good"),  # repeated
        ("new two", "bad"),
        ("new two", "good"),
        ("new two", "good"),  # the label of two rows
    ]
    result = add_extra_rows(loaded, [write(tmp_path / "extra.csv", rows)])
    assert texts(result) == [*texts(loaded), "new one", "new two"]
    assert result.splits["train"]["label"][-2:] == [2, 2]
    assert result.splits["train"]["id"][-2:] == ["extra.csv:2", "extra.csv:9"]
    (counts,) = result.extra
    assert counts.left_out == {
        "also in dev": 1,
        "also in test": 1,
        "already in train": 1,
        "already in train with another label": 1,
        "repeated": 2,
        "repeated with another label": 1,
    }
    assert (counts.rows, counts.added) == (9, 2) and counts.rows == counts.added + sum(counts.left_out.values())
    assert [(row.file, row.line, row.reason) for row in result.rejected] == [
        ("extra.csv", 5, "also in dev"),
        ("extra.csv", 6, "also in test"),
    ]
    assert "2 of 9 rows of extra.csv left out: 1 also in dev, 1 also in test" in caplog.text
    assert str(counts) in result.notices
    assert [result.splits[name][:] for name in ("dev", "test")] == [loaded.splits[n][:] for n in ("dev", "test")]


def test_a_pair_that_shares_a_sentence_with_dev_or_test_is_left_out(tmp_path):
    names = ("sentence1", "sentence2", "label")
    folder = splits(
        tmp_path / "data",
        [("a", "b", 0), ("c", "d", 1)],
        [("Who is it?", "Who was it?", 1), ("x", "y", 0)],
        [("test 1", "test 2", 1), ("v", "w", 0)],
        names,
    )
    rows = [
        ("new", "who is it", 0),
        ("WHO WAS IT", "new", 0),
        ("test 2 ?", "new", 1),
        ("b", "A", 0),
        ("a", "new", 0),
        ("who", "was", 1),
    ]
    result = add_extra_rows(load_task_data(PARA, folder), [write(tmp_path / "extra.csv", rows, names)])
    assert result.extra[0].left_out == {
        "with a sentence of dev": 2,
        "with a sentence of test": 1,
        "already in train": 1,
    }
    assert list(zip(texts(result), result.splits["train"]["sentence2"][:], strict=True))[2:] == [
        ("a", "new"),
        ("who", "was"),
    ]


def test_scores_are_added_too(tmp_path):
    names = ("sentence1", "sentence2", "label")
    loaded = load_task_data(STS, "sample")
    rows = [("new 1", "new 2", 2.5), ("new 2", "new 1", 3.5), (loaded.splits["dev"]["sentence2"][0], "new", 1)]
    result = add_extra_rows(loaded, [write(tmp_path / "extra.csv", rows, names)])
    assert result.splits["train"]["label"][-1] == 2.5 and result.extra[0].added == 1
    assert result.extra[0].left_out == {"with a sentence of dev": 1, "repeated with another label": 1}


def test_text_of_other_scripts_and_signs_is_compared_as_a_whole(loaded, tmp_path):
    dev = [("किताब", "good"), ("?!", "bad"), ("Straße", "fair")]
    folder = splits(tmp_path / "data", [("a", "good"), ("b", "bad"), ("c", "fair")], dev, dev)
    rows = [("कताब", "good"), ("!?", "bad"), (":)", "bad"), ("STRASSE", "fair"), ("कि ताब", "good")]
    result = add_extra_rows(load_task_data(OWN, folder), [write(tmp_path / "extra.csv", rows)])
    assert texts(result)[3:] == ["कताब", "!?", ":)"]
    assert result.extra[0].left_out == {"also in dev": 2}


def random_trees(rng, number):
    def tree(depth):
        label = rng.randrange(5)
        if depth == 0:
            return f"({label} {rng.choice('abcdefgh')})"
        return f"({label} {tree(depth - 1)} {tree(depth - 1)})"

    return [tree(rng.choice([1, 2, 3])) for _ in range(number)]


def test_no_row_is_lost_and_no_phrase_is_in_dev_for_random_trees(tmp_path):
    for seed in range(5):
        rng = random.Random(seed)
        path, extra = tmp_path / f"trees{seed}.txt", tmp_path / f"extra{seed}.txt"
        path.write_text("\n".join(random_trees(rng, 60)))
        extra.write_text("\n".join(random_trees(rng, 60)))
        arguments = {"data": str(path), "dev_fraction": 0.4, "max_rejected_share": 1.0}
        own = DataArguments(**arguments).load(SST, seed)
        loaded = DataArguments(**arguments, extra_train=[str(extra)], phrases=2, neutral_phrases=0.5).load(SST, seed)
        assert loaded.splits["dev"][:] == own.splits["dev"][:]
        assert loaded.splits["train"][: len(own.splits["train"])] == own.splits["train"][:]
        assert [counts.source for counts in loaded.extra] == [
            f"phrases of {path.name}",
            extra.name,
            f"phrases of {extra.name}",
        ]
        for counts in loaded.extra:
            assert counts.rows == counts.added + sum(counts.left_out.values())
        assert len(loaded.splits["train"]) == len(own.splits["train"]) + sum(counts.added for counts in loaded.extra)
        added = loaded.splits["train"].select(range(len(own.splits["train"]), len(loaded.splits["train"])))
        keys = text_keys(added)
        assert len(set(keys)) == len(keys)
        assert not set(keys) & {*text_keys(own.splits["train"]), *text_keys(own.splits["dev"])}
        assert len(set(added["id"][:])) == len(added)
        dev_lines = set(own.splits["dev"]["line"][:])
        own_phrases = [row for row in added if row["id"].startswith(path.name)]
        assert own_phrases and not any(row["line"] in dev_lines for row in own_phrases)


def test_phrases_of_a_tree_that_is_in_dev_are_left_out(tmp_path):
    folder = splits(
        tmp_path / "data", [("a", 0), ("b", 1)], [("The film is very good.", 4), ("x", 1)], [("y", 1), ("z", 2)]
    )
    trees = tmp_path / "trees.txt"
    trees.write_text(
        "(4 (2 The film) (3 no))\n"  # no tree
        "(4 (2 (2 The) (2 film)) (3 (2 is) (4 (2 very) (3 (3 good) (2 .)))))\n"
        "(2 (2 (2 The) (2 screen)) (2 (4 very) (4 good)))\n" * 1
    )
    loaded = load_task_data(SST, folder, max_rejected_share=1.0)
    result = add_extra_rows(loaded, [trees], phrases=Phrases(2), max_rejected_share=1.0)
    assert texts(result)[2:] == ["The screen very good", "The screen", "very good"]
    roots, phrases = result.extra
    assert roots.left_out == {"also in dev": 1} and phrases.left_out == {"of a tree also in dev": 3}
    assert (result.rejected[0].line, result.rejected[0].reason) == (1, "a word of the tree has no node")


def test_phrases_of_an_own_tree_whose_sentence_is_also_in_dev_are_left_out(tmp_path):
    tree = "(4 (2 (2 The) (2 film)) (3 (2 is) (4 (2 very) (3 good))))"
    folder = tmp_path / "data"
    folder.mkdir()
    others = [f"({i % 5} (2 (2 the) (2 one)) (1 number{i}))" for i in range(5)]
    (folder / "train.txt").write_text("\n".join([tree, *others]))
    (folder / "dev.txt").write_text("\n".join([tree, *others[:1]]).replace("number0", "other"))
    loaded = DataArguments(data=str(folder), phrases=2).load(SST, 42)
    assert loaded.extra[0].left_out == {"of a tree also in dev": 3, "repeated": 4}
    assert texts(loaded)[6:] == ["the one"]


def test_a_share_of_the_neutral_phrases_is_drawn_with_the_seed(tmp_path):
    folder = splits(tmp_path / "data", [("a", 0), ("b", 1)], [("x", 4), ("y", 1)], [("y", 1), ("z", 2)])
    trees = tmp_path / "trees.txt"
    trees.write_text("\n".join(f"(3 ({2 + i % 2} (2 w{i}) (2 film)) (2 end))" for i in range(40)))
    loaded = load_task_data(SST, folder)
    drawn = [
        add_extra_rows(loaded, [trees], phrases=Phrases(2, share), seed=seed)
        for share, seed in ((1.0, 1), (0.25, 1), (0.25, 1), (0.25, 2), (0.0, 1))
    ]
    labels = [result.splits["train"].to_pandas()["label"][42:].value_counts().to_dict() for result in drawn]
    assert labels == [{2: 20, 3: 20}, {2: 5, 3: 20}, {2: 5, 3: 20}, {2: 5, 3: 20}, {3: 20}]
    assert drawn[1].extra[1].left_out == {"neutral and not drawn": 15}
    assert texts(drawn[1]) == texts(drawn[2]) != texts(drawn[3])


def test_files_may_have_other_names_of_columns(loaded, tmp_path):
    task = replace(OWN, sentence1_column="text", label_column="label", id_column="key")
    rows = [("k1", "new", "good")]
    path = write(tmp_path / "extra.csv", rows, ("id", "review", "stars"))
    advice = "Rename the column to 'label' as in the train rows, or name it with `--label_column`"
    with pytest.raises(InputError, match=rf"extra\.csv has no column for `label`: .*{advice}"):
        add_extra_rows(replace(loaded, task=task), [path])
    path = write(tmp_path / "extra.csv", rows, ("id", "review", "rating"))
    result = add_extra_rows(replace(loaded, task=task), [path])
    assert result.splits["train"][-1] == {"sentence1": "new", "label": 2, "id": "k1", "line": 2}


WRONG = {
    "missing": (lambda folder: {"extra_train": [str(folder / "none.csv")]}, "`extra_train` must be files of rows"),
    "folder": (lambda folder: {"extra_train": [str(folder)]}, "`extra_train` must be files of rows, got .*: a folder"),
    "text": (lambda folder: {"extra_train": "rows.csv"}, "`extra_train` must be a list of files"),
    "rows": (lambda folder: {"extra_train": [[{"text": "new", "label": "bad"}]]}, r"`extra_train` .*, got \[\{'text'"),
    "dev_seed": (lambda folder: {"dev_seed": -1}, "`dev_seed` must be 0 or more, got -1"),
    "sheet": (lambda folder: {"extra_train": [str(write(folder / "a.xlsx", []))]}, "must end in one of"),
    "class": (
        lambda folder: {"extra_train": [str(write(folder / "a.csv", [("new", "great"), ("newer", "great")]))]},
        r"The classes of the task are 'bad' \(0\)",
    ),
    "no label": (
        lambda folder: {"extra_train": [str(write(folder / "a.csv", [("new",)], ["text"]))]},
        "no column for",
    ),
    "no trees": (lambda folder: {"phrases": 2}, "`phrases` needs a .txt file of trees.* of the task 'own'"),
    "zero": (lambda folder: {"phrases": 0}, "`phrases` must be 1 or more"),
    "alone": (lambda folder: {"neutral_phrases": 0.5}, "`neutral_phrases` needs `phrases`"),
    "share": (lambda folder: {"phrases": 2, "neutral_phrases": 1.5}, r"`neutral_phrases` must be in \[0, 1\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_one_line_with_its_name(case, loaded, tmp_path):
    make, message = WRONG[case]
    with pytest.raises(InputError, match=message) as caught:
        DataArguments(data=str(tmp_path / "data"), **make(tmp_path)).load(OWN, 42)
    assert "\n" not in str(caught.value)


def test_phrases_longer_than_all_are_an_error(tmp_path):
    path = tmp_path / "trees.txt"
    path.write_text("\n".join(f"({i % 5} (2 (2 w{i}) (1 film)) (2 end))" for i in range(20)))
    with pytest.raises(InputError, match=r"`phrases` must be .* in trees\.txt, or less, got 3"):
        DataArguments(data=str(path), phrases=3).load(SST, 42)


def test_neutral_phrases_need_a_class_in_the_middle(tmp_path):
    task = TaskSpec("own", "sentiment", class_names=("0", "1", "2", "3"))
    path = tmp_path / "trees.txt"
    path.write_text("\n".join(f"({i % 4} (2 (2 w{i}) (1 film)) (2 end))" for i in range(20)))
    with pytest.raises(InputError, match=r"an odd number of classes, got 4 classes"):
        DataArguments(data=str(path), phrases=2, neutral_phrases=0.5).load(task, 42)


def test_the_audit_has_the_counts(loaded, tmp_path):
    path = write(tmp_path / "extra.csv", [("it's a dev row", "good"), ("new", "good")])
    report = audit(add_extra_rows(loaded, [path]), OWN, majority_baseline=majority_baseline)
    assert report.rejected == {"also in dev": 1} and report.leaks["dev"].rows == 0
    assert report.majority_baseline["train"] == {"accuracy": 0.25}  # of "bad", as without the further row
    line = "further train rows: extra.csv: 2 rows, 1 added to train; left out: 1 also in dev"
    assert line in audit_page(report)
    write_audit(tmp_path / "audit.json", {"own": report})
    assert read_audit(tmp_path / "audit.json") == {"own": report}


@needs_real_data
def test_the_roots_of_the_treebank_are_the_sentences_of_the_course():
    trees = REAL / "extra" / "sst-trees-train.txt"
    start = time.process_time()
    loaded = load_task_data(SST, REAL)
    result = add_extra_rows(loaded, [trees], phrases=Phrases(2))
    assert time.process_time() - start < 10  # seconds of a slow machine; 2 on the one it was written on
    roots, phrases = result.extra
    assert roots.left_out["already in train"] + sum(n for why, n in roots.left_out.items() if "also in" in why) == 8544
    assert "already in train with another label" not in roots.left_out
    assert (phrases.left_out["also in dev"], phrases.left_out["also in test"]) == (25, 12)


@needs_real_data
def test_a_pair_of_dev_is_found_among_further_real_pairs():
    loaded = load_task_data(PARA, REAL)
    result = add_extra_rows(loaded, [REAL / "extra" / "quora-extra-duplicates.csv", REAL / "quora-dev.csv"])
    clean, dev = result.extra
    assert clean.left_out == {} and dev.left_out["with a sentence of dev"] == dev.rows == 2500

"""Labels of a split are read together, before a row is used: what does not fit the task is an error with the flag."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extrabert_hf.data.loading import load_split, load_task_data
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import AUTO_CLASSES, PAPER_TASKS, TaskSpec

SST, PARA, STS = PAPER_TASKS.values()
AUTO = replace(SST, class_names=AUTO_CLASSES)


def write(path, labels, repeat=20):
    """Writes `repeat` rows of each label, with texts that differ."""
    rows = [{"text": f"a {i}", "text2": f"b {i}", "label": label} for i, label in enumerate(labels * repeat)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ";"
        lines = [separator.join(map(str, row.values())) for row in rows]
        path.write_text("\n".join([separator.join(rows[0]), *lines]) + "\n")
    return str(path)


REFUSED = [
    *((SST, [1, 2, 3, 4, 5], "--class_names 1 2 3 4 5"), (SST, [1, 2, 3, 4], "--class_names 1 2 3 4")),
    *((SST, [-2, -1, 0, 1, 2], "--class_names -2 -1 0 1 2"), (SST, [-1, 0, 1], "--class_names -1 0 1")),
    *((SST, [0, 1], "--class_names 0 1"), (SST, ["true", "false"], "--class_names false true")),
    *((SST, ["Yes", "no"], "--class_names no Yes"), (SST, ["a b", "it's"], "--class_names 'a b' 'it'\"'\"'s'")),
    *((SST, [0.5, 1.5, 2], "extrabert train sts"), (SST, [f"text {i}" for i in range(400)], "--label_column")),
    *((PARA, [1, 2], "--class_names 1 2"), (PARA, ["same", "other"], "--class_names other same")),
    *((SST, ["a b", '"two\nlines"'], "--class_names auto"), (STS, [0, 12_345_678], "--label_max 12345678")),
    *((STS, [0, 50, 100], "--label_max 100"), (STS, [-0.9, 0, 0.9], "--label_min -1 --label_max 1")),
    *((STS, [0, 0.3, 1], "--label_max 1"), (STS, [1, 4, 7], "--label_min 1 --label_max 7")),
    *(
        (STS, ["low", "high"], "extrabert train para"),
        (STS, ["10%", "90 %"], "--label_max 100"),
        *((STS, [label, "0.5", "1"], "all written in one way") for label in ("1,5", "50%", "4/5")),
    ),
]


@pytest.mark.parametrize(("task", "labels", "flag"), REFUSED, ids=str)
def test_labels_that_the_task_does_not_have_are_an_error_with_the_flag(tmp_path, task, labels, flag):
    path = write(tmp_path / "rows.csv", labels, repeat=1 if len(labels) > 100 else 20)
    with pytest.raises(InputError) as error:
        load_task_data(replace(task, sentence2_column="text2" if task.is_pair else None), path)
    assert flag in str(error.value) and "\n" not in str(error.value)


def test_the_flag_of_the_error_is_right(tmp_path):
    path = write(tmp_path / "rows.csv", [1, 2, 3, 4, 5])
    task = replace(SST, class_names=("1", "2", "3", "4", "5"))
    loaded = load_task_data(task, path)
    assert sum(map(len, loaded.splits.values())) == 100 and loaded.rejected == []
    assert [row["label"] for row in load_split(task, path, "train").splits["train"]][:5] == [0, 1, 2, 3, 4]


READ = [
    (SST, ["VERY  NEGATIVE", "negative", "Neutral", "positive", "very_positive"], [0, 1, 2, 3, 4]),
    (PARA, ["TRUE", "FALSE"], [1, 0]),
    (PARA, ["yes", "No"], [1, 0]),
    (PARA, ["duplicate", "not_duplicate"], [1, 0]),
    (PARA, ["Not paraphrase", "Paraphrase"], [0, 1]),
    (STS, ["2,5", "0", "5,0"], [2.5, 0.0, 5.0]),
    (replace(STS, label_range=(0, 100)), ["7%", "90 %", "12,5\u00a0%"], [7.0, 90.0, 12.5]),
    (replace(SST, class_names=("1", "2", "3")), ["1,0", "2", "3.0", "2,00"], [0, 1, 2, 1]),
    (replace(SST, class_names=("1,0", "2,0")), ["1", "2", "2,0"], [0, 1, 1]),
]


@pytest.mark.parametrize(("task", "labels", "values"), READ, ids=str)
def test_what_can_be_read_right_is_read_right(tmp_path, task, labels, values):
    task = replace(task, sentence2_column="text2" if task.is_pair else None)
    train = load_split(task, write(tmp_path / "rows.csv", labels), "train").splits["train"]
    assert train["label"][: len(values)] == values


NAMED = TaskSpec(name="own", head="sentiment", class_names=("1", "2", "none"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_label_has_one_reading_in_every_format(tmp_path, suffix):
    path = write(tmp_path / f"rows{suffix}", [1, 2, "none", 1.0, "2.0", "None"])
    assert load_split(NAMED, path).splits["dev"]["label"][:6] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("labels", "task"), [([1, 2], NAMED), ([1.0, 2.0], NAMED), ([False, True], PARA)])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_typed_labels_are_read_as_their_texts(tmp_path, labels, task, suffix):
    task = replace(task, sentence2_column="text2" if task.is_pair else None)
    assert load_split(task, write(tmp_path / f"rows{suffix}", labels)).splits["dev"]["label"][:2] == [0, 1]


@pytest.mark.parametrize(
    "names", [("US", "us", "them"), ("1", "1.0"), ("a b", "A  B"), ("ß", "ss"), ("1", "1,0"), ("x", "\uff58")]
)
def test_names_that_could_be_taken_for_each_other_are_refused(names):
    with pytest.raises(InputError, match="must differ by more than case"):
        TaskSpec(name="own", head="sentiment", class_names=names)


AUTO_FOUND = [
    *(([3, 1, 2], ("1", "2", "3")), ([10, 9, "-1"], ("-1", "9", "10")), (["b", "a"], ("a", "b"))),
    *((["\N{MINUS SIGN}1", "0", "1"], ("-1", "0", "1")), (["10 stars", "9 stars"], ("9 stars", "10 stars"))),
    *((["2,0", "1", "1,0", 2], ("1", "2")), (["0,5", "-1,5"], ("-1.5", "0.5"))),
    *((["true", "false"], ("false", "true")), (["same", "not same"], ("not same", "same"))),
]


@pytest.mark.parametrize(("labels", "names"), AUTO_FOUND)
def test_auto_finds_the_classes_of_the_train_rows_in_order(tmp_path, labels, names):
    loaded = load_task_data(AUTO, write(tmp_path / "rows.csv", labels))
    assert loaded.task.class_names == names
    assert loaded.rejected == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["US", "us"], r"'US' \(20 rows\) and 'us' \(20 rows\)"),
        (["us", "US", "US", "a b"], r"'us' \(1 row\) and 'US' \(2 rows\).* `--class_names 'a b' US`"),
        ([f"text {i}" for i in range(100)], "--label_column"),
        (["a"], "at least 2 classes, got 'a'"),
    ],
)
def test_auto_refuses_what_are_no_classes(tmp_path, labels, message):
    with pytest.raises(InputError, match=message):
        load_task_data(AUTO, write(tmp_path / "rows.csv", labels, repeat=1 if len(labels) > 2 else 20))


def rows_of(path, *labels_and_counts, texts=""):
    lines = [f"a {i},{label}" for label, count in labels_and_counts for i in range(count)]
    path.write_text("\n".join(["text,label", *lines, texts]) + "\n")
    return str(path)


GOOD = [(label, 40) for label in range(5)]


def test_more_than_a_tenth_of_rejected_rows_stops_unless_it_is_allowed(tmp_path, caplog):
    path = rows_of(tmp_path / "rows.csv", *GOOD, *((f"slip {i}", 1) for i in range(23)))
    with pytest.raises(InputError, match=r"23 of 223 rows .*`--max_rejected_share 0\.11` leaves these rows out"):
        load_task_data(SST, path)
    loaded = load_task_data(SST, path, max_rejected_share=0.11)
    assert (sum(map(len, loaded.splits.values())), len(loaded.rejected)) == (200, 23)
    assert caplog.records[0].levelname == "WARNING" and "23 of 223 rows of rows.csv rejected" in caplog.text


def test_a_label_that_loses_every_row_stops_unless_it_is_allowed(tmp_path):
    path = rows_of(tmp_path / "rows.csv", *GOOD, ("7", 2), ("slip", 1))
    with pytest.raises(InputError, match=r"every row with the label '7' \(2\)"):
        load_task_data(SST, path)
    assert len(load_task_data(SST, path, max_rejected_share=0.1).rejected) == 3


def test_a_class_that_loses_every_row_for_its_text_stops(tmp_path):
    path = rows_of(tmp_path / "rows.csv", *GOOD[:4], texts="\n".join([" ,4", " ,very positive"]))
    with pytest.raises(InputError, match=r"every row with the label 'very positive' \(2\)"):
        load_task_data(SST, path)


def test_the_dev_rows_are_checked_as_the_train_rows_are(tmp_path):
    train, dev = rows_of(tmp_path / "train.csv", *GOOD), rows_of(tmp_path / "dev.csv", *((n + 1, 9) for n in range(5)))
    with pytest.raises(InputError, match=r"9 of 45 rows of dev\.csv rejected: 9 labels are not in 0 to 4"):
        load_task_data(SST, train, dev_data=dev)


@pytest.mark.parametrize(
    ("task", "labels", "warning"),
    [
        (SST, ["negative", "positive"], "has the classes 'very negative', 'neutral', 'very positive'"),
        (replace(SST, class_names=("us", "them")), ["us", "US", "them"], "read as one class: 'us', 'US'"),
        (replace(STS, sentence2_column="text2"), [1, 2, 5], "go from 1 to 5, the range of the task from 0 to 5"),
    ],
)
def test_doubtful_labels_are_a_warning(tmp_path, caplog, task, labels, warning):
    load_task_data(task, write(tmp_path / "rows.csv", labels))
    assert warning in caplog.text


@pytest.mark.parametrize(("labels", "warns"), [([1, 2, 4], False), ([0, 0.5, 1], True)])
def test_rows_to_score_may_lack_the_ends_of_the_range(tmp_path, caplog, labels, warns):
    task = replace(STS, label_range=(0, 5), sentence2_column="text2")
    load_split(task, write(tmp_path / "rows.csv", labels), "dev")
    expected = ["the labels of rows.csv go from 0 to 1, the range of the task from 0 to 5"] * warns
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == expected

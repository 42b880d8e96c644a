import logging
import random
import shlex
from collections import Counter

import pytest

from extrabert_hf.data.inspection import inspect_source
from extrabert_hf.data.loading import load_task_data
from extrabert_hf.data.sources import file_source
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec
from tests.table_files import write_rows

ROWS = 120
SENTENCE = "the film was quite good but a story of man in town never gets going and see it again with friends"
WORDS = SENTENCE.split()
BLANK = TaskSpec("own", "sentiment", ("auto",))


def text(draw, words=9):
    return " ".join(draw.choice(WORDS) for _ in range(words)) + f" {draw.randrange(10**6)}."


# by column, a text of so many words (an integer), a function of the generator and the row, or a list to draw from
def rows_of(columns, count=ROWS):
    draw = random.Random(0)

    def value(made, index):
        if isinstance(made, int):
            return text(draw, made)
        return made(draw, index) if callable(made) else draw.choice(made)

    return [{name: value(made, index) for name, made in columns.items()} for index in range(count)]


def number(low, high, step=1):
    return lambda draw, index: draw.randrange(low, high + 1) * step


def counted(draw, index):
    return index


def fraction(draw, index):
    return round(draw.random(), 3)


AS = ["a", "b"]
FOUND = {
    # file and its columns: the head, the columns of the sentences, the label, the range of scores
    "reviews.csv": ({"review": 9, "stars": ["bad", "fair", "good"], "date": ["2020-01-02", "2020-02-03"]}, "stars"),
    "index.csv": ({"": counted, "text": 9, "label": [0, 1]}, "label"),
    "pandas.csv": ({"Unnamed: 0": counted, "text": 9, "Class": AS}, "Class"),
    "label_first.tsv": ({"label": [-1, 0, 1], "text": 9}, "label"),
    "quoted.csv": ({'Review "Text"': 9, "Star Rating": [1, 2, 3, 4, 5]}, "Star Rating"),
    "umlaut.csv": ({"Überschrift": 9, "Größe": ["groß", "klein"]}, "Größe"),
    "bools.jsonl": ({"comment": 9, "isToxic": [True, False]}, "isToxic"),
    "nested.jsonl": ({"id": counted, "text": 9, "meta": [{"a": 1}, None], "label": [*AS * 20, None]}, "label"),
    "ids.csv": ({"annotator_id": [1, 2, 3], "text": 9, "mood": AS}, "mood"),
    "author.csv": (
        {"author": lambda draw, index: f"{draw.choice(['Ann', 'Bo'])} Li{index}", "body": 25, "mood": AS},
        "mood",
    ),
    "numbers.csv": ({"text": 9, "age": number(18, 80), "price": fraction, "mood": AS}, "mood"),
    "link.csv": ({"url": lambda draw, index: f"https://x.org/{index}", "comment": 9, "flag": AS}, "flag"),
    "empty.csv": ({"text": 9, "label": AS, "remarks": [""], "version": ["v1"]}, "label"),
    "label_text.csv": ({"text": 9, "label": [0, 1], "label_text": ["neg", "pos"]}, "label"),
    "short.csv": ({"utterance": ["lights on", "lights off", "play radio"], "intent": AS}, "intent"),
    "words.csv": (
        {"word": lambda draw, index: f"{index:b}".replace("0", "o").replace("1", "l"), "class": AS},
        "class",
    ),
    "japanese.csv": ({"内容": lambda draw, index: f"この映画はとても良かった{index}", "標識": ["良", "悪"]}, "標識"),
    "spaces.csv": ({"text": 9, "category": ["very good", "not so good", "bad"]}, "category"),
    "yes.parquet": ({"text": 9, "spam": ["yes", "no"]}, "spam"),
    "numbered.csv": ({"0": 9, "1": [0, 1]}, "1"),
    "sequence.csv": ({"text": 9, "nr": counted, "stimmung": AS}, "stimmung"),
    "nli.csv": ({"premise": 9, "hypothesis": 5, "label": ["entailment", "neutral", "contradiction"]}, "label"),
    "nli_ids.csv": ({"premise": 9, "hypothesis": 5, "label": [0, 1, 2], "idx": counted}, "label"),
    "quora.csv": ({"qid1": counted, "qid2": counted, "question1": 9, "question2": 9, "is_duplicate": [0, 1]},),
    "products.tsv": ({"question": 9, "other": 9, "verdict": ["same", "different", "different"]}, "verdict"),
    "ab.tsv": ({"text_a": 9, "text_b": 5, "y": ["yes", "no"]}, "y"),
    "boolq.json": ({"question": 7, "passage": 30, "answer": [True, False]}, "answer"),
    "sts.csv": ({"sentence1": 9, "sentence2": 9, "score": number(1, 9, 0.5)}, "score", (0, 5)),
    "unit.csv": ({"text1": 9, "text2": 9, "match": fraction}, "match", (0, 1)),
    "likert.csv": ({"text1": 9, "text2": 9, "rating": number(1, 5)}, "rating", (1, 5)),
    "percent.csv": (
        {"query": 3, "answer": 15, "match": lambda draw, index: f"{draw.randrange(101)}%"},
        "match",
        (0, 100),
    ),
    "comma.tsv": ({"satz1": 9, "satz2": 9, "wert": ["0,5", "1,5", "3,5"]}, "wert", (0, 4)),
    "signed.jsonl": ({"left": 9, "right": 9, "sim": lambda draw, index: draw.random() * 2 - 1}, "sim", (-1, 1)),
    "whole.csv": ({"text1": 9, "text2": 9, "label": number(0, 100)}, "label", (0, 100)),
}
ROLES = ("sentence1_column", "sentence2_column", "label_column")


@pytest.mark.parametrize("name", FOUND)
def test_what_the_inspection_finds_is_what_the_loader_uses(tmp_path, name):
    columns, *expected = FOUND[name]
    rows = rows_of(columns)
    write_rows(tmp_path / name, rows)
    found = inspect_source(file_source(BLANK, tmp_path / name))
    label, label_range = (*expected, None)[:2] if expected else ("is_duplicate", None)
    assert (found.columns["label_column"], found.label_range) == (label, label_range)
    pairs = "sentence2_column" in found.columns
    assert found.head == ("similarity" if label_range else "paraphrase" if pairs else "sentiment")
    texts = [found.columns[role] for role in ROLES[:2] if role in found.columns]
    assert len(texts) == (2 if name in list(FOUND)[list(FOUND).index("nli.csv") :] else 1)
    loaded = load_task_data(found.task("own"), str(tmp_path / name), max_rejected_share=0.2)
    (used,) = loaded.columns
    assert {role: getattr(used, role.removesuffix("_column")) for role in found.columns} == found.columns
    good = [row for row in rows if row[label] is not None]
    read = [row for split in loaded.splits.values() for row in split]
    assert {row["sentence1"] for row in read} == {row[texts[0]].strip() for row in good}
    if label_range is None:
        counts = Counter(loaded.task.class_names[row["label"]].casefold() for row in read)
        assert counts == Counter(str(row[label]).casefold() for row in good)
    else:
        assert loaded.task.label_range == label_range and len(read) == len(good)


UNCLEAR = {
    # file: its columns, and choices of flags that the message has and that are enough
    "title.csv": (
        {"title": 4, "review": 25, "rating": [1, 2, 3]},
        [
            "--sentence1_column title",
            "--sentence1_column review",
            "--sentence1_column title --sentence2_column review",
        ],
    ),
    "two labels.csv": (
        {"text": 9, "stars": [1, 2, 3], "sentiment": AS},
        ["--label_column stars", "--label_column sentiment"],
    ),
    "more labels.csv": ({"text": 9, "stadt 1": AS, "art": AS}, ["--label_column 'stadt 1'", "--label_column art"]),
    "sick.tsv": (
        {"sentence_A": 9, "sentence_B": 9, "relatedness_score": number(10, 50, 0.1), "entailment_judgment": AS},
        ["--label_column relatedness_score", "--label_column entailment_judgment"],
    ),
    "integers.csv": ({"text1": 9, "text2": 9, "label": number(0, 5)}, ["--head paraphrase", "--head similarity"]),
    "intents.csv": ({"text": 9, "label": number(0, 30)}, ["--class_names auto"]),
    "half stars.csv": ({"text": 9, "rating": number(2, 10, 0.5)}, ["--class_names auto"]),
    "regions.csv": ({"text": 9, "label": ["US;East", "US;West", "EU;East", "EU;West"]}, ["--class_names auto"]),
}


def values_of(flags):
    words = shlex.split(flags)
    values = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
    return values | ({"class_names": [values["class_names"]]} if "class_names" in values else {})


@pytest.mark.parametrize("name", UNCLEAR)
def test_an_unclear_file_ends_in_a_line_with_flags_that_are_enough(tmp_path, name):
    columns, choices = UNCLEAR[name]
    write_rows(tmp_path / name, rows_of(columns))
    source = file_source(BLANK, tmp_path / name)
    with pytest.raises(InputError) as caught:
        inspect_source(source)
    for flags in choices:
        assert f"`{flags}`" in str(caught.value)
        found = inspect_source(source, values_of(flags))
        assert values_of(flags).items() <= ({"head": found.head, "class_names": ["auto"]} | found.columns).items()


REFUSED = {
    "scores.csv": ({"text": 9, "score": fraction}, "no head scores one sentence"),
    "three.csv": (
        {"text1": 9, "text2": 9, "text3": 9, "label": AS},
        "has 3 columns of texts, 'text1', 'text2', 'text3'",
    ),
    "unlabelled.csv": ({"text": 9}, "has no column of labels beside 'text'"),
    "constant.csv": (
        {"text": 9, "label": ["good"]},
        "at least 2 different labels, the column 'label' has 'good' alone",
    ),
    "empty.csv": ({"text": 9, "label": [""]}, "no column of labels beside 'text': none of 'label' looks like one"),
    "tags.csv": (
        {"text": 9, "tags": ["a", "b", "a;b", "b;c", "c"]},
        "the column 'tags' of tags.csv has several labels in a row",
    ),
    "lists.jsonl": ({"text": 9, "labels": [["a", "b"], ["b"]]}, "has several labels in a row"),
    "free.csv": ({"text": 9, "label": 7}, "the column 'label' of free.csv has free text, not classes"),
    "numbers.csv": ({"a": counted, "b": [1, 2]}, "has no column of texts, its columns are 'a', 'b'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_without_a_head_ends_in_a_line_that_says_why(tmp_path, name):
    columns, message = REFUSED[name]
    write_rows(tmp_path / name, rows_of(columns))
    with pytest.raises(InputError) as caught:
        inspect_source(file_source(BLANK, tmp_path / name))
    assert message in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("columns", [{"a": 9, "b": AS}, {"a": 9, "b": 9, "c": [0, 1]}, {"a": [1, 2, 3], "b": 4}])
def test_a_file_without_a_line_of_column_names_is_named(tmp_path, columns):
    lines = [",".join(map(str, row.values())) for row in rows_of(columns)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"rows\.csv must start with a line of column names"):
        inspect_source(file_source(BLANK, tmp_path / "rows.csv"))


def test_excel_and_a_byte_order_mark_change_nothing(tmp_path):
    rows = rows_of({"Bewertung Text": 9, "Note": ["gut", "schlecht"]})
    write_rows(tmp_path / "plain.csv", rows, separator=";")
    text_of_file = (tmp_path / "plain.csv").read_text(encoding="utf-8")
    (tmp_path / "excel.csv").write_text("\ufeffsep=;\n" + text_of_file, encoding="utf-8")
    (tmp_path / "utf16.csv").write_text(text_of_file, encoding="utf-16")
    found = [inspect_source(file_source(BLANK, path)).columns for path in sorted(tmp_path.glob("*.csv"))]
    assert found == [{"sentence1_column": "Bewertung Text", "label_column": "Note"}] * 3


def test_rows_sorted_by_label_are_all_looked_at(tmp_path):
    lines = [f"this is text number {n},{'ab'[n >= 7000]}" for n in range(8000)]
    (tmp_path / "sorted.csv").write_text("\n".join(["text,label", *lines]))
    assert inspect_source(file_source(BLANK, tmp_path / "sorted.csv")).columns["label_column"] == "label"


def test_the_range_of_many_different_scores_is_that_of_all_rows(tmp_path):
    lines = [f"this is text {n},that is text {n},{n / 10_000 if n < 9_000 else n / 100}" for n in range(9_500)]
    (tmp_path / "pairs.csv").write_text("\n".join(["text1,text2,score", *lines]))
    assert inspect_source(file_source(BLANK, tmp_path / "pairs.csv")).label_range == (0, 100)


def test_ten_rows_are_enough(tmp_path):
    write_rows(tmp_path / "ten.csv", rows_of({"satz": 9, "urteil": lambda draw, index: AS[index % 2]}, count=10))
    found = inspect_source(file_source(BLANK, tmp_path / "ten.csv"))
    assert found.columns == {"sentence1_column": "satz", "label_column": "urteil"}


GIVEN = [
    ({"head": "similarity"}, "similarity", "score"),
    ({"head": "paraphrase"}, "paraphrase", "label"),
    ({"label_min": 0.0}, "similarity", "score"),
    ({"class_names": ["a", "b"]}, "paraphrase", "label"),
    ({"label_column": "score"}, "similarity", "score"),
    ({"sentence1_column": "sentence2"}, "sentiment", "label"),
    ({"sentence2_column": "sentence1"}, "paraphrase", "label"),
]


@pytest.mark.parametrize(("values", "head", "label"), GIVEN)
def test_flags_narrow_what_is_searched(tmp_path, values, head, label):
    rows = rows_of({"sentence1": 9, "sentence2": 9, "label": AS, "score": fraction})
    write_rows(tmp_path / "pairs.csv", rows)
    found = inspect_source(file_source(BLANK, tmp_path / "pairs.csv"), values)
    assert (found.head, found.columns["label_column"]) == (head, label)
    given = {name: value for name, value in values.items() if name.endswith("_column")}
    assert given.items() <= found.columns.items()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": "regression"}, "`head` must be one of 'sentiment', 'paraphrase', 'similarity', got 'regression'"),
        ({"head": "similarity", "class_names": ["a"]}, "give flags for one of the two"),
        ({"head": "sentiment", "sentence2_column": "sentence2"}, "`head` 'sentiment' is for one sentence"),
        ({"label_column": "labels"}, r"must name a column of pairs.csv \('sentence1', .*\), got 'labels'"),
        ({"head": "sentiment"}, "write `--sentence1_column sentence1` or `--sentence1_column sentence2`"),
        ({"head": "similarity", "label_column": "label"}, "must have numbers for the head 'similarity'"),
        ({"head": "similarity", "sentence1_column": "sentence1", "sentence2_column": "sentence1"}, "two different"),
    ],
)
def test_flags_that_do_not_fit_are_named(tmp_path, values, message):
    write_rows(tmp_path / "pairs.csv", rows_of({"sentence1": 9, "sentence2": 9, "label": AS, "score": fraction}))
    with pytest.raises(InputError, match=message):
        found = inspect_source(file_source(BLANK, tmp_path / "pairs.csv"), values)
        load_task_data(found.task("own"), str(tmp_path / "pairs.csv"))


def test_a_file_of_dev_rows_may_have_other_well_known_names(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name, columns in (("train", {"kommentar": 9, "urteil": AS}), ("dev", {"text": 9, "label": AS})):
        write_rows(tmp_path / f"{name}.csv", rows_of(columns))
    found = inspect_source(file_source(BLANK, tmp_path / "train.csv"))
    loaded = load_task_data(found.task("own"), str(tmp_path))
    assert [columns.label for columns in loaded.columns] == ["urteil", "label"]


@pytest.mark.parametrize(("head", "label"), [("paraphrase", "art"), ("similarity", "wert")])
def test_a_head_narrows_labels_that_only_values_tell(tmp_path, head, label):
    write_rows(tmp_path / "pairs.csv", rows_of({"satz1": 9, "satz2": 9, "art": AS, "wert": fraction}))
    found = inspect_source(file_source(BLANK, tmp_path / "pairs.csv"), {"head": head})
    assert (found.head, found.columns["label_column"]) == (head, label)

import csv
import io
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.inference.prediction_columns import PredictedTable, free_names, is_formula, prediction_columns
from extrabert_hf.inference.prediction_file import predict_file
from extrabert_hf.inference.predictor import Predictions, Predictor
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.tasks import PAPER_TASKS
from tests.table_files import write_rows

SST = PAPER_TASKS["sst"]
ROWS = [
    {"key": "k,1", "shop": "süd; ost", "text": "A warm film.", "stars": 5, "note": None},
    {"key": "2", "shop": "", "text": 'It is "dull".', "stars": 1, "note": "two\nlines"},
    {"key": "", "shop": "=1+1", "text": "-2 points", "stars": -1, "note": "\t"},
]


@pytest.fixture
def predictor(tiny_encoder):
    task = replace(SST, class_names=("a b", "a_b", "c"))
    return Predictor((TrainedModel(*build_model(tiny_encoder, task), task),))


def read(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("output", ["out.csv", "out.tsv", "out.jsonl"])
def test_all_columns_of_the_file_are_in_the_output_as_they_were(predictor, tmp_path, suffix, output):
    source = tmp_path / f"in{suffix}"
    write_rows(source, ROWS)
    task = predictor.task.with_columns({"id_column": "key"})
    assert predict_file(predictor, str(source), str(tmp_path / output), task=task) == 3
    rows = read(tmp_path / output)
    assert list(rows[0]) == [*ROWS[0], *prediction_columns(predictor.task)]
    as_text = suffix in (".csv", ".tsv") or not output.endswith(".jsonl")
    for found, row in zip(rows, ROWS, strict=True):
        kept = {name: "" if value is None else str(value) for name, value in row.items()} if as_text else row
        assert {name: found[name] for name in row} == kept
        assert found["predicted_class"] == predictor.task.class_names[int(found["class_id"])]


@pytest.mark.parametrize(
    "names",
    [
        ("a b", "a_b"),
        ("a", "a b", "a_b", "a  b c", "a_b_c"),
        ("1", "2"),
        ("x,y", "x\ny"),
        ("class", "predicted_class"),
    ],
)
def test_each_class_has_a_column_of_its_own(names):
    columns = prediction_columns(replace(SST, class_names=names))
    assert len(columns) == len(set(columns)) == len(names) + 2


def test_names_of_the_paper_s_classes_have_no_blanks():
    assert prediction_columns(SST)[2:4] == ["p_very_negative", "p_negative"]


@pytest.mark.parametrize("taken", [[], ["id"], ["p_a", "p_a_2", "id"], ["predicted_class", "class_id_2", "class_id"]])
def test_added_names_are_free_and_keep_their_order(taken):
    names = ["id", "predicted_class", "class_id", "p_a", "p_a_2"]
    free = free_names(names, taken)
    assert len({*free, *taken}) == len(free) + len(taken)
    assert all(new.startswith(name) for new, name in zip(free, names, strict=True))
    assert [new for new, name in zip(free, names, strict=True) if name not in taken] == [
        name for name in names if name not in taken
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_predictions_of_a_file_with_predictions_are_added_under_other_names(predictor, tmp_path, suffix, caplog):
    write_rows(tmp_path / "in.csv", ROWS)
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    predict_file(predictor, str(tmp_path / "in.csv"), str(first))
    predict_file(predictor, str(first), str(second))
    once, twice = read(first), read(second)
    assert [{name: row[name] for name in once[0]} for row in twice] == once
    assert [row["predicted_class_2"] for row in twice] == [row["predicted_class"] for row in once]
    assert "first" in caplog.text and "predicted_class_2, class_id_2" in caplog.text


def test_values_of_columns_that_appear_late_are_counted(predictor, tmp_path, caplog):
    rows = [{"text": "A"}] * 1001 + [{"text": "B", "late": 1, "class_id": 7}, {"text": "C", "late": 2}]
    write_rows(tmp_path / "in.jsonl", rows)
    predict_file(predictor, str(tmp_path / "in.jsonl"), str(tmp_path / "out.csv"))
    assert "'late'" in caplog.text and "in up to 2 rows" in caplog.text
    caplog.clear()
    predict_file(predictor, str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))
    assert [row["late"] for row in read(tmp_path / "out.jsonl")[1001:]] == [1, 2]
    assert "'class_id', in up to 1 rows" in caplog.text and "late" not in caplog.text


CELLS = ["=1+1", "@SUM(A1)", "+1-1", "-2+3", "-2 points", "\t=1", "\r=1", "\uff1d1"]
HARMLESS = ["-1.5", "+3", "-1e5", "a=b", "", "-", "+", "'=1", " =1", "12", "x\n=1"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_formulas_are_counted_and_escaped_on_request(suffix):
    def table(csv_safe):
        table = PredictedTable(PAPER_TASKS["sts"], ["text", "@name"], True, suffix, csv_safe)
        rows = [{"text": cell, "@name": 1} for cell in CELLS + HARMLESS]
        for row in rows:
            table.check(row)
        scores = Predictions(PAPER_TASKS["sts"], ["x"] * len(rows), [], np.full((len(rows), 1), -1.5))
        text = table.head() + table.lines((("x", row) for row in rows), scores)
        return table, list(csv.reader(io.StringIO(text, newline=""), delimiter="\t" if suffix == ".tsv" else ","))

    plain, rows = table(csv_safe=False)
    assert [row[0] for row in rows[1:]] == CELLS + HARMLESS and rows[0][1] == "@name"
    (notice,) = plain.notices()
    assert notice.startswith(f"{len(CELLS) + 1} cells start like a formula") and "--csv_safe true" in notice
    safe, rows = table(csv_safe=True)
    assert [row[0] for row in rows[1:]] == [f"'{cell}" for cell in CELLS] + HARMLESS and rows[0][1] == "'@name"
    assert safe.notices() == [] and not any(is_formula(cell) for row in rows for cell in row)
    assert {row[2] for row in rows[1:]} == {"-1.5"}


def test_csv_safe_is_for_tables(predictor, tmp_path):
    write_rows(tmp_path / "in.csv", ROWS)
    with pytest.raises(InputError, match=r"`csv_safe` is for an `output` that ends in \.csv or \.tsv, got"):
        predict_file(predictor, str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl"), csv_safe=True)


def test_a_row_without_an_id_has_its_line_as_id(predictor, tmp_path):
    write_rows(tmp_path / "in.csv", [{"text": row["text"]} for row in ROWS])
    for output in ("out.csv", "out.jsonl"):
        predict_file(predictor, str(tmp_path / "in.csv"), str(tmp_path / output))
        rows = read(tmp_path / output)
        assert [row["id"] for row in rows] == ["2", "3", "4"] and list(rows[0])[:2] == ["id", "text"]


def test_values_that_json_lacks_are_written(predictor, tmp_path):
    table = pa.table({"text": ["A", "B"], "x": [float("nan"), 1.0], "y": [b"\x00", b"a"], "z": [[1, None], []]})
    pq.write_table(table, tmp_path / "in.parquet")
    predict_file(predictor, str(tmp_path / "in.parquet"), str(tmp_path / "out.jsonl"))
    text = (tmp_path / "out.jsonl").read_text()
    assert "NaN" not in text and [row["x"] for row in read(tmp_path / "out.jsonl")] == [None, 1.0]
    assert Counter(map(len, map(json.dumps, (row["z"] for row in read(tmp_path / "out.jsonl"))))) == {9: 1, 2: 1}

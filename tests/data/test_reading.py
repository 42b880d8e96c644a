import json
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extrabert_hf.data.reading import BATCH_SIZE, RejectedRow, peek_columns, read_rows, rows_of_batches
from extrabert_hf.data.rejected_rows import Unreadable
from extrabert_hf.errors import InputError

ROWS = [
    {"sentence1": "Ein Café, bitte; jetzt!", "sentence2": 'She said "no".'},
    {"sentence1": "  two  ", "sentence2": "日本語 🙂"},
    {"sentence1": '"quoted" at the start', "sentence2": "it's"},
]


def delimited(separator):
    def field(text):
        return '"' + text.replace('"', '""') + '"'

    lines = [separator.join(ROWS[0]), *(separator.join(map(field, row.values())) for row in ROWS)]
    return "\r\n".join(lines) + "\r\n"


SAME_ROWS = {
    "comma.csv": delimited(","),
    "semicolon.csv": delimited(";"),
    "tab.csv": delimited("\t"),
    "tab.tsv": delimited("\t"),
    "mark.csv": "\ufeff" + delimited("\t"),
    "list.json": json.dumps(ROWS),
    "data.json": json.dumps({"data": ROWS, "version": 1}, indent=2),
    "lines.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "plain.txt": "".join("\t".join(row.values()) + "\n" for row in ROWS),
    "utf16.csv": delimited(";").encode("utf-16"),
    "old_mac.csv": delimited(";").replace("\r\n", "\r"),
    "excel.csv": "sep=;\r\n" + delimited(";"),
    "ends.csv": delimited(";").replace('"\r\n', '";;\r\n'),
    "UPPER.JSONL": "\n\n".join(json.dumps(row) for row in ROWS) + "\n\n",
}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def read(path):
    return list(read_rows(path, text_columns=("sentence1", "sentence2")))


def read_parts(path):
    rows = read(path)
    rejected = [row for row in rows if isinstance(row, RejectedRow)]
    return [row for row in rows if row not in rejected], rejected


@pytest.mark.parametrize("name", SAME_ROWS)
def test_every_format_gives_the_same_rows(tmp_path, name):
    assert [row for _, row in read(write(tmp_path / name, SAME_ROWS[name]))] == ROWS


def test_parquet_gives_the_same_rows_over_many_batches(tmp_path):
    rows = ROWS * BATCH_SIZE
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == list(enumerate(rows, start=1))


def test_standard_input_is_read_as_plain_text(tmp_path, monkeypatch):
    with write(tmp_path / "rows.txt", SAME_ROWS["plain.txt"]).open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert read("-") == list(enumerate(ROWS, start=1))


def test_lines_are_those_of_the_file(tmp_path):
    path = write(tmp_path / "rows.csv", 'a\tb\n1\tx\n\n2\t"over\ntwo lines"\n3\ty\n')
    assert read(path) == [
        (2, {"a": "1", "b": "x"}),
        (4, {"a": "2", "b": "over\ntwo lines"}),
        (6, {"a": "3", "b": "y"}),
    ]


def test_a_file_of_one_column_keeps_its_commas(tmp_path):
    assert read(write(tmp_path / "rows.csv", "sentence\nWell, yes; no.\n")) == [(2, {"sentence": "Well, yes; no."})]


def test_a_long_field_is_read(tmp_path):
    text = "word " * 100_000
    assert read(write(tmp_path / "rows.csv", f"id,text\n1,{text}\n")) == [(2, {"id": "1", "text": text})]


BROKEN = {
    "few.csv": ("a,b,c\n1,2\n1,2,3\n", 2, "not 3 fields: 2"),
    "many.tsv": ("a\tb\n1\t2\t3\n1\t2\n", 2, "not 2 fields: 3"),
    "one.csv": ("a,b\nx\n1,2\n", 2, "not 2 fields: 1"),
    "inside.csv": ('a,b\n"x"y,2\n1,2\n', 2, "not valid CSV: ',' expected after '\"'"),
    "over.csv": ('a,b\n"open,2\nx,y"\n', 2, "a quote is left open: the quoted field ends on line 3"),
    "merged.tsv": (
        'a\tb\n1\t"open \n\t closed"\n1\t2\n',
        2,
        "a quoted field holds tabs and line ends: until line 3",
    ),
    "cut.jsonl": ('{"a": 1, "b"\n{"a": 1}\n', 1, "not valid JSON: Expecting ':' delimiter at character 14"),
    "array.jsonl": ('[1, 2]\n{"a": 1}\n', 1, "not a JSON object"),
    "string.json": ('["x", {"a": 1}]', 1, "not a JSON object"),
    "single.txt": ("only one\na\tb\n", 1, "not 2 fields: 1"),
    "blank.txt": ("\na\tb\n", 1, "not 2 fields: 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_is_rejected_with_its_line_and_the_next_is_read(tmp_path, name):
    content, line, reason = BROKEN[name]
    path = write(tmp_path / name, content)
    rows, rejected = read_parts(path)
    assert len(rows) == 1
    assert [(row.file, row.line) for row in rejected] == [(name, line)]
    assert str(rejected[0]) == f"{name}:{line}: {reason}"


def test_a_quote_that_does_not_match_is_a_character_of_a_tsv(tmp_path):
    lines = ['"open\t2', 'x\ty"', '"a" b\t3', '"quoted"\t4', '5" wide\t"']
    rows, rejected = read_parts(write(tmp_path / "rows.tsv", "\n".join(["a\tb", *lines])))
    assert rejected == []
    assert ["\t".join(row.values()) for _, row in rows] == [line.replace('"quoted"', "quoted") for line in lines]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_quotes_that_open_and_close_a_few_rows_later_swallow_no_row(tmp_path, order, separator):
    rows = [(f"k{i}", f"text {i}", ("bad", "2", "good")[i % 3]) for i in range(300)]
    for i in range(40, 300):
        text = '"' * (i % 11 == 0) + rows[i][1] + '"' * (i % 7 == 0)
        rows[i] = (rows[i][0], text, rows[i][2])
    lines = [separator.join(row[place] for place in order) for row in [("id", "text", "label"), *rows]]
    good, rejected = read_parts(write(tmp_path / "rows.csv", "\n".join(lines)))
    assert len(good) + len(rejected) == len(rows)
    opened = {row[0] for row in rows if row[1].startswith('"') and (separator != "\t" or row[1].endswith('"'))}
    assert {row["id"] for _, row in good} >= {row[0] for row in rows} - opened


def test_a_quote_left_open_to_the_end_is_rejected_not_swallowed(tmp_path):
    rows, rejected = read_parts(write(tmp_path / "rows.csv", 'a,b\n1,2\n3,"open\n' + "5,6\n" * 50))
    assert rows == [(2, {"a": "1", "b": "2"}), *((line, {"a": "5", "b": "6"}) for line in range(4, 54))]
    assert list(map(str, rejected)) == ["rows.csv:3: a quote is left open: the quoted field ends on line 53"]


def test_what_is_kept_of_a_rejected_row_is_short(tmp_path):
    _, rejected = read_parts(write(tmp_path / "rows.txt", "x" * 10_000 + "\n"))
    assert rejected[0].row == {"text": "x" * 199 + "…"}


def test_good_and_rejected_rows_come_in_the_order_of_the_file(tmp_path):
    rows = read(write(tmp_path / "rows.txt", "a\tb\nc\nd\te\nf\n"))
    assert [(type(row), row.line if isinstance(row, RejectedRow) else row[0]) for row in rows] == [
        *((tuple, 1), (RejectedRow, 2), (tuple, 3), (RejectedRow, 4)),
    ]


UNREADABLE = {
    "latin.csv": (b"sentence\ncaf\xe9\n", r"latin\.csv must be UTF-8 text, got 0xe9 as byte 4 of line 2\."),
    "latin.jsonl": (b'{"a": 1}\n{"a": "\xfc"}\n', r"latin\.jsonl must be UTF-8 text, got 0xfc as byte 8 of line 2\."),
    "latin.json": (b'[\n{"a": "\xfc"}]', r"latin\.json must be UTF-8 text, got 0xfc as byte 8 of line 2\."),
    "latin.txt": (b"\xffa", r"latin\.txt must be UTF-8 text, got 0xff as byte 1 of line 1\."),
    "cut16.txt": (b"\xff\xfea", r"cut16\.txt must be UTF-16 text, got: .*truncated data"),
    "zeros.csv": ("a,b\n".encode("utf-16-le"), r"zeros\.csv must be UTF-8 text, got bytes of value 0 as in UTF-16\."),
    "empty.csv": (b"", r"empty\.csv must start with a line of column names, got an empty one\."),
    "blank.csv": (b"\n\n", r"blank\.csv must start with a line of column names, got an empty one\."),
    "twice.csv": (b"a,b,a\n1,2,3\n", r"twice\.csv must name each column once, got 'a' 2 times\."),
    "open.csv": (
        b'"a,b\n' + b"1,2\n" * 50 + b'",c\n',
        r"open\.csv must start with .* a quoted name of 52 lines: is a quote left open\?",
    ),
    "deep.json": (b"[" * 9000, r"deep\.json must be valid JSON, got lists or objects nested too deep\."),
    "long.json": (b"[" + b"9" * 5000 + b"]", r"long\.json must be valid JSON, got an integer that is too long\."),
    "quote.csv": (
        b'"a"b,c\n',
        r"quote\.csv must start with a line of column names, got none: ',' expected after '\"'\.",
    ),
    "cut.json": (b'[{"a": 1},', r"cut\.json must be valid JSON, got 'Expecting value' at line 1, character 11\."),
    "lines.json": (
        b'{"a": 1}\n{"a": 2}\n',
        r"lines\.json must be .* \(a file with one object a line must end in \.jsonl\)\.",
    ),
    "object.json": (b'{"a": 1}', r"object\.json must be a list of objects or \{\"data\": \[\.\.\.\]\}, got neither\."),
    "false.parquet": (b"PAR1, or not", r"false\.parquet must be a parquet file, got: "),
    "rows.xlsx": (b"", r"A data file must end in one of \.csv, .*, got 'rows\.xlsx'\."),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_an_error_of_one_line(tmp_path, name):
    content, message = UNREADABLE[name]
    with pytest.raises(InputError, match=f"^{message}") as error:
        read(write(tmp_path / name, content))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^A data file must exist, got '.*none\.csv': no such file\.$"):
        read_rows(tmp_path / "none.csv")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt", ".parquet"])
def test_reading_takes_no_more_memory_for_a_larger_file(tmp_path, suffix):
    path, number = tmp_path / f"rows{suffix}", 20_000
    line = {".csv": "{},some words of text\n", ".jsonl": '{{"id": {}, "text": "some words of text"}}\n'}.get(
        suffix, "{}\n"
    )
    if suffix == ".parquet":
        pq.write_table(pa.table({"id": list(range(number)), "text": ["some words of text"] * number}), path)
    else:
        path.write_text("id,text\n" * (suffix == ".csv") + "".join(line.format(i) for i in range(number)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path)) == number
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


HOSTILE_LINES = {
    "deep": ("[" * 5000 + "]" * 5000, "not valid JSON: lists or objects nested too deep"),
    "long": ('{"a": ' + "9" * 5000 + "}", "not valid JSON: an integer that is too long"),
    "twice": ('{"a": 1, "a": 2}', "a JSON object with a key twice"),
}


@pytest.mark.parametrize("name", HOSTILE_LINES)
def test_a_hostile_line_of_jsonl_is_a_rejected_row(tmp_path, name):
    text, reason = HOSTILE_LINES[name]
    first, bad, last = read(write(tmp_path / "rows.jsonl", f'{{"a": 1}}\n{text}\n{{"a": 2}}\n'))
    assert (first, str(bad), last) == ((1, {"a": 1}), f"rows.jsonl:2: {reason}", (3, {"a": 2}))


def test_a_parquet_column_named_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["label", "label"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"^rows\.parquet must name each column once, got 'label' 2 times\.$"):
        read(tmp_path / "rows.parquet")


def test_a_parquet_value_that_python_lacks_is_no_error_of_the_file(tmp_path):
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff"))
    late = pa.array([0, 2**62], pa.timestamp("us"))
    pq.write_table(pa.table({"text": bad, "when": late, "raw": [b"a", b"\xff"]}), tmp_path / "rows.parquet")
    (_, first), (_, second) = read(tmp_path / "rows.parquet")
    assert (first["text"], first["raw"]) == ("a", "a")
    assert all(isinstance(second[name], Unreadable) for name in ("text", "when", "raw"))


def test_a_quote_that_closes_a_thousand_rows_later_costs_one_row(tmp_path):
    lines = [f"{i},text {i},{i % 5}" for i in range(3000)]
    lines[100], lines[1100] = '100,"open,4', '1100,a screen of 20",1'
    rows, rejected = read_parts(write(tmp_path / "rows.csv", "\n".join(["id,text,label", *lines]) + "\n"))
    assert [row["id"] for _, row in rows] == [str(i) for i in range(3000) if i != 100]
    assert [(row.line, row.reason) for row in rejected] == [(102, "a quote is left open")]


@pytest.mark.parametrize("line", ['"a""', '1,"open', '"a",b"', '1,"x""y'])
def test_a_quote_in_every_line_takes_linear_time(tmp_path, line):
    rows = read(write(tmp_path / "rows.csv", "a,b\n" + f"{line}\n" * 20_000))
    assert len(rows) == 20_000


def test_a_text_of_several_lines_stays_one_row(tmp_path):
    texts = ["one, two\nthree, four", 'a ""quoted"" word\n\nthen, a list:\n- 1\n- 2', "x\n1,2\n", "\n,\n"]
    content = "".join(f'{i},"{text}",{i % 3}\n' for i, text in enumerate(texts * 50))
    rows, rejected = read_parts(write(tmp_path / "rows.csv", "id,text,label\n" + content))
    assert rejected == []
    assert [row["text"] for _, row in rows] == [text.replace('""', '"') for text in texts * 50]


def test_many_columns_are_read_and_few_of_their_rows_are_held(tmp_path):
    names = [f"c{i}" for i in range(100_000)]
    (row,) = read(write(tmp_path / "rows.csv", f"{','.join(names)}\n" * 2))
    assert row == (2, dict(zip(names, names, strict=True)))
    numbers = iter(range(BATCH_SIZE))
    peek_columns((number, row[1]) for number in numbers)
    assert next(numbers) < 20


def test_peeking_loses_no_row_and_sees_late_columns():
    rows = [(1, {"a": 1}), (2, {"b": 2}), *((i, {}) for i in range(3, 3 * BATCH_SIZE))]
    present, again = peek_columns(iter(rows))
    assert present == ["a", "b"]
    assert list(again) == rows


def test_peeking_keeps_rejected_rows_and_does_not_count_them():
    bad = RejectedRow("rows.csv", 1, "no label", {})
    rows = [bad, (1, {"a": 1}), *[bad] * BATCH_SIZE, (2, {"b": 2}), bad]
    present, again = peek_columns(iter(rows))
    assert present == ["a", "b"]
    assert list(again) == rows


def test_peeking_reads_no_further_than_it_must():
    numbers = iter(range(10 * BATCH_SIZE))
    peek_columns((number, {"a": number}) for number in numbers)
    assert next(numbers) == BATCH_SIZE


def test_batches_are_numbered_through():
    assert [number for number, _ in rows_of_batches([{"a": [1, 2]}, {"a": []}, {"a": [3]}])] == [1, 2, 3]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_rows(Path(tmp_path))


def test_the_values_of_every_column_without_a_name_are_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(",text,,label,\n7,a film,seen,1,x\n8,a play,,0,y\n")
    rows = [row[1] for row in read_rows(path)]
    assert [list(row.values()) for row in rows] == [["7", "a film", "seen", "1", "x"], ["8", "a play", "", "0", "y"]]
    assert list(rows[0]) == ["", "text", "unnamed_3", "label", "unnamed_5"]

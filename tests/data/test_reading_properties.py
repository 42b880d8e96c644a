"""Generated files of each format: every row of a file is either used or rejected, and what is clean is used."""

import csv
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from extrabert_hf.data.loading import load_split
from extrabert_hf.data.originals import stream_sentences
from extrabert_hf.data.rejected_rows import RejectedRow
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec

TASK = TaskSpec(name="own", head="sentiment", class_names=("bad", "fair", "good"))
QUICK, NIGHTLY = 25, 2_000
"""Generated files of a format in a quick test and in a slow one."""


@pytest.fixture(autouse=True)
def _no_log(caplog):
    caplog.set_level("ERROR")  # thousands of warnings about rejected rows


def generated_files(number):
    # a fixed seed, or a new one each time for the slow tests
    return settings(
        max_examples=number,
        derandomize=number == QUICK,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


@pytest.fixture(params=[QUICK, pytest.param(NIGHTLY, marks=pytest.mark.slow)])
def number_of_files(request):
    return request.param


text_parts = st.sampled_from(
    ["a", "é", "日", "🙂", " ", ",", ";", "\t", '"', '""', "\n", "\r\n", ", b", "it's", "\u2028", "\x00"]
)
texts = st.lists(text_parts, max_size=8).map("".join)
clean_texts = texts.map(lambda text: f"x{text}x")
labels = st.sampled_from(["0", "1", "2", "1.0", "good", "Fair", " bad "])
bad_labels = st.sampled_from(["", "7", "0.5", "nan", "maybe", "9" * 400, "-1"])
clean_rows = st.tuples(st.just("clean"), clean_texts, labels)
bad_rows = st.tuples(st.just("bad"), st.one_of(st.just(""), st.just(" "), clean_texts), bad_labels)


def numbered(rows):
    return [(kind, f"{number}", *rest) for number, (kind, *rest) in enumerate(rows, start=100)]


def load(path):
    try:
        loaded = load_split(TASK, str(path), max_rejected_share=1)
    except InputError as error:
        assert "\n" not in str(error)
        return None, None
    return loaded.splits["dev"].to_list(), loaded.rejected


def check(path, rows, total):
    """Checks a file of `total` rows, of which `rows` are those with ids that differ."""
    used, rejected = load(path)
    clean = {row[1]: row[2] for row in rows if row[0] == "clean"}
    if used is None:
        assert not clean
        return
    assert len(used) + len(rejected) == total
    assert {row["id"]: row["sentence1"] for row in used} == {key: text.strip() for key, text in clean.items()}
    assert all(isinstance(row, RejectedRow) and row.reason and "\n" not in str(row) for row in rejected)


def as_csv(fields, separator, end):
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end).writerow(fields)
    return text.getvalue()


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_every_row_of_a_table_is_used_or_rejected(tmp_path, suffix, number_of_files):
    odd_rows = st.tuples(
        st.just("odd"),
        st.lists(clean_texts.map(lambda t: t.replace("\r\n", " ").replace("\n", " ")), min_size=4, max_size=5),
    )

    @generated_files(number_of_files)
    @given(
        st.lists(st.one_of(clean_rows, clean_rows, bad_rows, odd_rows, st.tuples(st.just("blank"))), max_size=12),
        st.sampled_from(",;\t") if suffix == ".csv" else st.just("\t"),
        st.sampled_from(["\n", "\r\n"]),
        st.sampled_from(["", "\ufeff"]),
    )
    def run(rows, separator, end, mark):
        if separator == "\t":  # a quoted field with a tab and a line end is rejected as a whole
            rows = [(row[0], row[1].replace("\t", " "), *row[2:]) if len(row) == 3 else row for row in rows]
        rows = numbered(rows)
        content = [mark, as_csv(["id", "text", "label"], separator, end)]
        for kind, number, *rest in rows:
            fields = rest[0] if kind == "odd" else [number, *rest]
            content.append(end if kind == "blank" else as_csv(fields, separator, end))
        path = tmp_path / f"rows{suffix}"
        path.write_bytes("".join(content).encode())
        read = csv.reader(io.StringIO("".join(content[1:]), newline=""), delimiter=separator)
        check(path, rows, sum(bool(fields) for fields in read) - 1)

    run()


def test_a_quote_left_open_costs_one_row(tmp_path, number_of_files):
    plain = st.sampled_from(["a", "é", "b c", "it's", "z"]).map(lambda text: f"x{text}")
    many = st.tuples(st.just("clean"), plain, labels)
    opened = st.tuples(st.just("open"), plain, labels)
    closed = st.tuples(st.just("closed"), plain, labels)

    @generated_files(number_of_files)
    @given(
        st.lists(st.one_of(many, many, many, clean_rows, opened, closed), max_size=30),
        st.booleans(),
        st.sampled_from(",;\t"),
        st.sampled_from(["\n", "\r\n"]),
    )
    def run(rows, has_names, separator, end):
        rows = numbered([("clean", "first", "0"), *rows])
        if has_names:
            rows = [(*row[:3], "good" if row[3] in ("0", "1") else "Fair") for row in rows]
        else:
            rows = [(*row[:3], row[3] if row[3].isdigit() else "1.0") for row in rows]
        if separator == "\t":
            rows = [(kind, number, text.replace("\t", " "), label) for kind, number, text, label in rows]
        content = [as_csv(["id", "text", "label"], separator, end)]
        for kind, number, text, label in rows:
            if kind == "clean":
                content.append(as_csv([number, text, label], separator, end))
            else:
                content.append(separator.join([number, '"' + text if kind == "open" else text + '"', label]) + end)
        path = tmp_path / "rows.csv"
        path.write_bytes("".join(content).encode())
        used, rejected = load(path)
        assert len(used) + len(rejected) == len(rows)
        known = {number: text + '"' * (kind == "closed") for kind, number, text, label in rows if kind != "open"}
        if separator == "\t":  # there, the quote is a character
            known |= {number: '"' + text for kind, number, text, label in rows if kind == "open"}
        assert {row["id"]: row["sentence1"] for row in used} == {key: text.strip() for key, text in known.items()}

    run()


def test_every_line_of_jsonl_is_used_or_rejected(tmp_path, number_of_files):
    any_json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    )
    as_json = st.tuples(
        st.just("any"), st.one_of(any_json, st.fixed_dictionaries({"text": any_json, "label": any_json}))
    )
    broken = [
        "[" * 5000,
        "9" * 5000,
        '{"id": "\\ud83d", "text": "a", "label": 0}',
        '{"text": "a", "text": "b"}',
        "{",
        "\x00",
    ]
    broken_rows = st.tuples(st.just("broken"), st.sampled_from(broken))

    @generated_files(number_of_files)
    @given(st.lists(st.one_of(clean_rows, clean_rows, bad_rows, as_json, broken_rows), max_size=12), st.booleans())
    def run(rows, is_ascii):
        rows, lines = numbered(rows), []
        for kind, number, *rest in rows:
            if kind == "broken":
                lines.append(rest[0])
                continue
            row = {"id": number, "text": rest[0], "label": rest[1]} if kind in ("clean", "bad") else rest[0]
            lines.append(json.dumps(row, ensure_ascii=is_ascii))
        path = tmp_path / "rows.jsonl"
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass" if is_ascii else "replace"))
        used, rejected = load(path)
        clean = {row[1]: row[2].strip() for row in rows if row[0] == "clean"}
        if used is None:
            return
        assert len(used) + len(rejected) == sum(bool(line.strip()) for line in lines)
        assert {row["id"]: row["sentence1"] for row in used}.items() >= clean.items()

    run()


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_every_row_of_a_typed_file_is_used_or_rejected(tmp_path, suffix, number_of_files):
    @generated_files(number_of_files)
    @given(st.lists(st.one_of(clean_rows, bad_rows), max_size=12), st.integers(1, 5))
    def run(rows, group):
        rows = numbered(rows)
        table = [{"id": number, "text": text, "label": label} for _, number, text, label in rows]
        path = tmp_path / f"rows{suffix}"
        if suffix == ".json":
            path.write_text(json.dumps(table))
        else:
            schema = pa.schema([(name, pa.string()) for name in ("id", "text", "label")])
            pq.write_table(pa.Table.from_pylist(table, schema=schema), path, row_group_size=group)
        check(path, rows, len(rows))

    run()


def test_every_line_of_plain_text_is_used_or_rejected(tmp_path, number_of_files):
    @generated_files(number_of_files)
    @given(st.lists(texts.map(lambda text: text.replace("\n", "")), max_size=12))
    def run(lines):
        path, content = tmp_path / "rows.txt", "".join(line + "\n" for line in ["first", *lines]).encode()
        assume(content.count(0) <= len(content) / 4)  # more bytes of value 0 are UTF-16: the file is refused
        path.write_bytes(content)
        rows = list(stream_sentences(TASK, path))
        used = [row[1]["sentence1"] for row in rows if not isinstance(row, RejectedRow)]
        assert len(rows) == len(lines) + 1
        clean = [line.strip() for line in lines if "\t" not in line.rstrip("\r") and line.strip()]
        assert used == ["first", *clean]

    run()


def damaged(rng, content):
    content, kind = bytearray(content), rng.random()
    if kind < 0.25:
        return content[: rng.randrange(len(content))]
    if kind < 0.6:
        for _ in range(rng.randrange(1, 20)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind < 0.8:  # the end, where parquet has its schema
        for _ in range(rng.randrange(1, 6)):
            content[-rng.randrange(1, len(content) // 2)] = rng.randrange(256)
    else:
        place = rng.randrange(len(content))
        content[place : place + rng.randrange(1, 200)] = rng.randbytes(rng.randrange(200))
    return content


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("files", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_a_damaged_file_ends_in_one_line_or_in_rejected_rows(tmp_path, suffix, files):
    rng = random.Random(files)
    for _ in range(files):
        rows = [{"id": str(i), "text": f"text é {i}", "label": i % 3} for i in range(rng.choice([5, 60]))]
        path = tmp_path / f"rows{suffix}"
        if suffix == ".jsonl":
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        else:
            buffer = io.BytesIO()
            compression = rng.choice(["none", "snappy", "gzip", "zstd"])
            pq.write_table(pa.Table.from_pylist(rows), buffer, compression=compression)
            content = buffer.getvalue()
        path.write_bytes(damaged(rng, content))
        load(path)

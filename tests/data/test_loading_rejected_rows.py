"""Random files with defects of each kind: every row of a file is either a good row or a rejected row."""

import json
import random
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extrabert_hf.data.loading import load_split
from extrabert_hf.data.originals import stream_sentences
from extrabert_hf.data.reading import BATCH_SIZE, RejectedRow, read_rows
from extrabert_hf.tasks import TaskSpec

TASK = TaskSpec(name="own", head="paraphrase", class_names=("other", "same"))
NAMES = ("id", "sentence1", "sentence2", "label")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt")

# a value that no reader can use, by its column
BAD_VALUES = [
    *(("sentence1", text) for text in ("", " ", "\u00a0")),
    *(("sentence2", text) for text in ("", "  ")),
    *(("label", label) for label in ("", "7", "0.5", "nan", "maybe", "inf")),
]
# the same for formats in which a value has a type
BAD_TYPES = [("sentence1", 12), ("sentence2", ["a"]), ("sentence2", None), ("label", None), ("label", [1])]
WORDS = ("a", "film", "naïve", "日本語", "🙂", "it's", "5, 6", "x;y", 'say "no"', '""', "\u2028", "line\nend")


def good_row(rng, number):
    first, second = (" ".join(rng.choices(WORDS, k=rng.randint(1, 5))) + "." for _ in range(2))
    return {"id": f"k{number}", "sentence1": first, "sentence2": second, "label": rng.choice(["0", "1.0", "same"])}


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def csv_record(rng, row, separator):
    """Quotes where it must, and now and then where it need not."""
    special = (separator, '"', "\n", "\r")
    fields = [quoted(t) if any(c in t for c in special) or rng.random() < 0.2 else t for t in row.values()]
    return separator.join(fields)


def broken_csv_record(rng, separator):
    """A record with a defect that the parser finds without swallowing the next one."""
    broken = ["one field", separator.join("abcde"), '"a" ']
    if separator != "\t":  # with tabs, a quote that does not match is a character
        broken.append(f'"x"y{separator}a{separator}b{separator}1')
    broken.append(f'"two{separator}\nlines"{separator}a{separator}b{separator}1' if separator == "\t" else '"x""y"z')
    return rng.choice(broken)


def write_delimited(rng, path, rows, separator):
    lines = [separator.join(NAMES)]
    for row in rows:
        lines.append(broken_csv_record(rng, separator) if row is None else csv_record(rng, row, separator))
        lines += [""] * (rng.random() < 0.1)  # a blank line is no row
    end = rng.choice(["\n", "\r\n"])
    last = rng.choice(["", end, f'{end}k,"a quote left open{end}{end}until the end{end}'])
    path.write_bytes((end.join(lines) + last).encode())


def write_text(rng, path, rows):
    lines = [
        rng.choice(["", "one", "a\tb\tc"])
        if row is None
        else "\t".join(row[name].replace("\n", " ") for name in TASK.sentence_columns)
        for row in rows
    ]
    path.write_bytes(("\n".join(lines) + rng.choice(["", "\n"]) * (lines[-1] != "")).encode())


def write_jsonl(rng, path, rows):
    broken = ['{"id": 1, ', "[1, 2]", "null", '"text"', "{}}", "{'id': 1}", "12"]
    lines = [rng.choice(broken) if row is None else json.dumps(row, ensure_ascii=rng.random() < 0.5) for row in rows]
    path.write_bytes("".join(line + rng.choice(["\n", "\n\n", " \r\n"]) for line in lines).encode())


def write_json(rng, path, rows):
    items = [rng.choice(["x", None, 3, [1]]) if row is None else row for row in rows]
    path.write_text(json.dumps(rng.choice([items, {"data": items}]), indent=rng.choice([None, 1])))


def write_file(rng, path, rows):
    if path.suffix == ".parquet":
        columns = {name: [None if row is None else row.get(name) for row in rows] for name in NAMES}
        pq.write_table(pa.table(columns, schema=pa.schema([(name, pa.string()) for name in NAMES])), path)
    elif path.suffix == ".jsonl":
        write_jsonl(rng, path, rows)
    elif path.suffix == ".json":
        write_json(rng, path, rows)
    elif path.suffix == ".txt":
        write_text(rng, path, rows)
    else:
        write_delimited(rng, path, rows, "\t" if path.suffix == ".tsv" else rng.choice(",;\t"))


def random_file(seed, suffix, folder):
    """Writes a file and returns its path and the rows without a defect; some columns or values may be missing."""
    rng = random.Random(f"{seed}{suffix}")
    size = rng.choice([3, 40, 40, BATCH_SIZE + 20])
    rows = [good_row(rng, number) for number in range(size)]
    bad_values = BAD_VALUES + (BAD_TYPES if suffix in (".json", ".jsonl") else [])
    bad_values = [value for value in bad_values if suffix != ".txt" or value[0] != "label"]
    good = []
    for index, row in enumerate(rows):
        kind = rng.random()
        if index and kind < 0.15:
            rows[index] = None  # cannot be parsed; in parquet, has no value at all
        elif index and kind < 0.4:
            row.update([rng.choice(bad_values)])
        else:
            good.append(row)
    path = folder / f"rows-{seed}{suffix}"
    write_file(rng, path, rows)
    return path, good


def count_records(text):
    """Counts the records of a csv file below its header, character by character: the rules of RFC 4180."""
    first = text.partition("\n")[0]
    separator = max("\t,;", key=first.count)
    records, is_quoted, is_start, is_blank, start = 0, False, True, True, 0
    text = text.replace("\r\n", "\n")
    for place, character in enumerate(text):
        if is_start and is_blank and not is_quoted:
            start = place  # of the record
        if character == '"' and (is_start or is_quoted):
            is_quoted, is_start, is_blank = not is_quoted, is_quoted, False
        elif character == "\n" and not is_quoted:
            records, is_start, is_blank = records + (not is_blank), True, True
        else:
            is_start, is_blank = character == separator and not is_quoted, False
    if is_quoted:  # left open: each line is a row
        return records + sum(map(bool, text[start:].split("\n"))) - 1
    return records + (not is_blank) - 1


def count_rows(path):
    """Counts the rows of a file without the code under test."""
    if path.suffix == ".parquet":
        return pq.read_metadata(path).num_rows
    text = path.read_bytes().decode()
    if path.suffix == ".json":
        items = json.loads(text)
        return len(items["data"] if isinstance(items, dict) else items)
    if path.suffix == ".jsonl":
        return sum(bool(line.strip()) for line in text.split("\n"))
    if path.suffix == ".txt":
        return text.count("\n") + (not text.endswith("\n"))
    return count_records(text)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("seed", range(12))
def test_good_and_rejected_rows_are_the_rows_of_the_file(tmp_path, seed, suffix):
    path, good = random_file(seed, suffix, tmp_path)
    total = count_rows(path)
    streamed = list(stream_sentences(TASK, path))
    assert len(list(read_rows(path, TASK.sentence_columns))) == len(streamed) == total
    lines = [row.line if isinstance(row, RejectedRow) else row[0] for row in streamed]
    assert lines == sorted(set(lines))
    assert all(row.file == path.name and row.reason for row in streamed if isinstance(row, RejectedRow))
    if suffix == ".txt":
        kept = [row[1] for row in streamed if not isinstance(row, RejectedRow)]
        assert [row["sentence1"] for row in kept] == [row["sentence1"].replace("\n", " ").strip() for row in good]
        return
    loaded = load_split(TASK, str(path), max_rejected_share=1)
    assert len(loaded.splits["dev"]) + len(loaded.rejected) == total
    assert loaded.splits["dev"]["id"][:] == [row["id"] for row in good]
    assert loaded.splits["dev"]["sentence2"][:] == [row["sentence2"].strip() for row in good]
    rejected = [row.line for row in loaded.rejected]
    assert rejected == sorted(set(rejected)) and set(rejected) < set(lines)


@pytest.mark.parametrize(
    ("suffix", "broken"), [(".csv", "one field\n"), (".jsonl", "{\n"), (".txt", "one\n"), (".tsv", "\t\t\t\n")]
)
def test_rejected_rows_do_not_pile_up_while_a_file_is_streamed(tmp_path, suffix, broken):
    good = {
        ".csv": "k1,first,second,1\n",
        ".jsonl": '{"sentence1": "first", "sentence2": "second"}\n',
        ".txt": "first\tsecond\n",
        ".tsv": "k1\tfirst\tsecond\t1\n",
    }
    header = {".csv": ",".join(NAMES) + "\n", ".tsv": "\t".join(NAMES) + "\n"}.get(suffix, "")
    path = tmp_path / f"rows{suffix}"
    path.write_text(header + (good[suffix] + broken) * 8_000)
    tracemalloc.start()
    try:
        kinds = [isinstance(row, RejectedRow) for row in stream_sentences(TASK, path)]
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert kinds == [False, True] * 8_000

import pytest

from extrabert_hf.data.loading import load_split, load_task_data
from extrabert_hf.data.originals import copy_rows
from extrabert_hf.data.reading import read_rows
from extrabert_hf.data.sources import file_source
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS
from tests.table_files import write_rows

TASK = PAPER_TASKS["sst"].with_columns({"sentence1_column": "review; or text;", "label_column": "stars"})


def rows_of(count):
    texts = ["plain", "a,b", 'say "yes"', "two\nlines", "semi;colon", "tab\there", "=1+1", "é\u2028u", " blanks "]
    return [
        {
            "": n,
            "shop, street": None if n % 4 == 0 else f"s{n}",
            "review; or text;": f"{n}: {texts[n % len(texts)]}",
            "stars": n % 5,
            "note": ["x", n] if n % 3 else True,
        }
        for n in range(count)
    ]


def write(path, rows):
    as_text = [row | {"note": str(row["note"])} for row in rows]  # a column of parquet has one type
    write_rows(path, as_text if path.suffix == ".parquet" else rows, separator=";")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_dev_rows_that_were_cut_off_are_copied_with_all_columns_and_load_again(tmp_path, suffix):
    path, copy = tmp_path / f"reviews{suffix}", tmp_path / "dev.csv"
    write(path, rows_of(90))
    loaded = load_task_data(TASK, str(path), dev_fraction=0.4)
    dev = loaded.splits["dev"]
    copy_rows(copy, loaded.dev_cut_off, dev["line"][:])
    again = load_split(TASK, str(copy)).splits["dev"]
    assert again["sentence1"][:] == dev["sentence1"][:] and again["label"][:] == dev["label"][:]
    original, copied = (dict(row for row in read_rows(file) if isinstance(row, tuple)) for file in (path, copy))
    assert list(next(iter(copied.values()))) == list(next(iter(original.values())))
    for line, row in zip(dev["line"][:], copied.values(), strict=True):
        shop, number = original[line]["shop, street"], str(original[line][""])
        assert (row["shop, street"], row[""], row["stars"]) == (shop or "", number, str(original[line]["stars"]))


def test_own_dev_rows_are_not_cut_off(tmp_path):
    write(tmp_path / "train.csv", rows_of(20))
    write(tmp_path / "dev.csv", rows_of(10))
    assert load_task_data(TASK, str(tmp_path)).dev_cut_off is None
    assert load_task_data(TASK, str(tmp_path / "train.csv"), dev_data=str(tmp_path / "dev.csv")).dev_cut_off is None


def test_a_file_that_lost_rows_is_an_error_of_one_line(tmp_path):
    path = tmp_path / "reviews.jsonl"
    write(path, rows_of(20))
    source = file_source(TASK, path)
    write(path, rows_of(10))
    with pytest.raises(InputError, match=r"reviews.jsonl must not change during a run, but 2 rows are gone"):
        copy_rows(tmp_path / "dev.csv", source, [3, 11, 20])

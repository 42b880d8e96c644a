import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from safetensors.numpy import save_file

from extrabert_hf.data.loading import LoadedData
from extrabert_hf.errors import InputError
from extrabert_hf.files import recorded
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.train_rows import TrainRows, copy_train_rows, find_overlap, remember_train_rows
from extrabert_hf.tasks import PAPER_TASKS

PARA = PAPER_TASKS["para"]


def pairs(numbers, *, ids=None, change=lambda text: text):
    columns = {
        "sentence1": [change(f"Is film {n} good?") for n in numbers],
        "sentence2": [change(f"Do you like number {n}?") for n in numbers],
        "id": [str(line + 2) if ids is None else f"{ids}{n}" for line, n in enumerate(numbers)],
        "line": [line + 2 for line in range(len(numbers))],
    }
    return Dataset.from_dict(columns)


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    TrainRows.of({"para": pairs(range(100), ids="k")}).write(folder.train_rows_file)
    return folder


CHANGES = [str.upper, lambda text: f"  {text.replace(' ', '  ')} ", lambda text: text]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("numbers", [range(90, 130), range(129, 89, -1), range(200, 240), range(40)])
@pytest.mark.parametrize("swapped", [False, True])
def test_train_rows_are_found_in_any_order_case_and_spacing(run, change, numbers, swapped):
    rows = pairs(numbers, change=change)
    if swapped:
        rows = rows.rename_columns({"sentence1": "sentence2", "sentence2": "sentence1"})
    overlap = find_overlap(str(run.path), PARA, rows)
    assert overlap.in_train.tolist() == [n < 100 for n in numbers]
    start = f"{overlap.count} of 40 rows are train rows" if overlap.count else "none of 40 rows is a train row"
    assert str(overlap).startswith(start) and str(run.path) in str(overlap)


def test_one_sentence_of_a_pair_alone_does_not_make_a_train_row(run):
    rows = pairs([1, 2, 3])
    rows = rows.remove_columns("sentence2").add_column("sentence2", ["other"] * 3)
    assert find_overlap(str(run.path), PARA, rows).count == 0


def test_rows_with_the_id_of_a_train_row_and_another_text_are_counted(run):
    changed = pairs([1, 2, 300], ids="k", change=lambda text: f"{text} Yes.")
    assert "; 2 rows have the id of a train row, with another text" in str(find_overlap(str(run.path), PARA, changed))
    lines_for_ids = pairs([1, 2, 300], change=lambda text: f"{text} Yes.")
    assert find_overlap(str(run.path), PARA, lines_for_ids).same_ids == 0


def test_a_model_without_a_record_says_so(run, tmp_path):
    (tmp_path / "other").mkdir()
    for name, task in ((str(tmp_path / "other"), PARA), (str(run.path), PAPER_TASKS["sst"]), ("me/model", PARA)):
        overlap = find_overlap(name, task, pairs([1]))
        assert overlap.in_train is None and f"{name} has no record of its train rows" in str(overlap)


@pytest.mark.parametrize("part", ["adapter", "checkpoint-7", "best/para"])
def test_parts_of_a_run_have_the_record_of_the_run(run, part):
    (run.path / part).mkdir(parents=True)
    run.config_file.write_text("{}")
    assert find_overlap(str(run.path / part), PARA, pairs([1, 300])).count == 1


def test_a_run_that_starts_from_a_model_keeps_the_train_rows_of_the_model(run, tmp_path):
    second = RunFolder(tmp_path / "second")
    loaded = LoadedData(DatasetDict(train=pairs([200])), [], [], PARA)
    remember_train_rows(second, {"para": loaded}, str(run.path))
    assert find_overlap(str(second.path), PARA, pairs([1, 200, 300])).in_train.tolist() == [True, True, False]


def test_a_model_made_of_several_has_the_records_of_all(run, tmp_path):
    other, joined, none = (RunFolder(tmp_path / name) for name in ("other", "joined", "none"))
    TrainRows.of({"sts": pairs([7])}).write(other.train_rows_file)
    with recorded(joined.path):
        copy_train_rows([run.path, other.path], joined)
    assert find_overlap(str(joined.path), PARA, pairs([1, 300])).count == 1
    assert find_overlap(str(joined.path), PAPER_TASKS["sts"], pairs([1, 7])).count == 1
    none.path.mkdir()
    with recorded(joined.path):
        copy_train_rows([none.path], joined)
    assert not joined.train_rows_file.exists()


def test_the_record_holds_8_bytes_a_text_and_no_text(run):
    content = run.train_rows_file.read_bytes()
    assert b"film" not in content and len(content) < 2 * 8 * 100 + 500


@pytest.mark.parametrize("version", ["2", None])
def test_a_record_that_cannot_be_read_is_an_error_of_one_line(run, version):
    if version is None:
        run.train_rows_file.write_bytes(b"x" * 40)
    else:
        save_file({"texts/para": np.zeros(1)}, run.train_rows_file, metadata={"version": version})
    with pytest.raises(InputError, match=r"train_rows.safetensors must hold .*: delete it") as error:
        find_overlap(str(run.path), PARA, pairs([1]))
    assert "\n" not in str(error.value)

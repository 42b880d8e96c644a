import numpy as np
import pytest

from benchmarks.label_errors import plant, share_text, write_rows
from extrabert_hf.data.loading import load_split
from extrabert_hf.tasks import PAPER_TASKS


@pytest.mark.parametrize("name", ["sst", "para", "sts"])
def test_the_wrong_labels_are_the_ones_that_differ_and_are_in_the_file(name, tmp_path):
    task = PAPER_TASKS[name]
    rows = load_split(task, "sample", "train").splits["train"]
    labels = np.asarray(rows["label"][:])
    planted, is_wrong = plant(task, labels, 0.05, seed=0)
    assert is_wrong.sum() == round(0.05 * len(labels))
    assert ((planted != labels) == is_wrong).all()
    if task.is_regression:
        assert (np.abs(planted - labels)[is_wrong] >= 2).all() and planted.min() >= 0 and planted.max() <= 5
    write_rows(tmp_path / "rows.csv", task, rows, planted)
    again = load_split(task, str(tmp_path / "rows.csv")).splits["dev"]
    assert again["line"][:] == list(range(2, len(rows) + 2))
    np.testing.assert_allclose(again["label"][:], planted)


def test_a_share_has_its_interval():
    assert share_text(30, 55) == "30 of 55, 0.545 [0.415, 0.670]"
    assert share_text(0, 0) == "0 of 0"

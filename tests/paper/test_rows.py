import pytest

from extrabert_hf.paper.rows import TABLE1, TABLE2
from extrabert_hf.tasks import PAPER_TASKS


def test_the_rows_stand_in_the_papers_order_under_its_labels():
    assert [row.label for row in TABLE1.values()] == [
        "Baseline",
        "RR",
        "RR + CS",
        "RR + CS + GS",
        "SFT",
        "SFT + CS",
        "SFT + DPA + CS",
        "SFT + MA + CS",
    ]
    assert all(row.name == name for name, row in TABLE1.items())


def test_every_row_is_scored_on_all_tasks_and_all_but_the_baseline_train_on_them():
    for row in TABLE1.values():
        assert tuple(row.scores) == tuple(PAPER_TASKS)
        assert row.tasks == (("sst",) if row.name == "baseline" else tuple(PAPER_TASKS))
        assert row.training == ("separate" if row.name.startswith("sft") else "multitask")


def test_every_row_but_the_first_builds_on_one_above_it():
    names = list(TABLE1)
    assert TABLE1["baseline"].against is None
    for position, row in enumerate(TABLE1.values()):
        if position:
            assert row.against in names[:position]
    assert TABLE1["sft"].against == "rr"


def test_the_last_row_is_the_one_of_table_2_within_a_hundredth():
    assert TABLE1["sft_ma_cs"].scores == pytest.approx(TABLE2, abs=0.01)

from itertools import pairwise

import pytest

from benchmarks.suite import WITHOUT, ladder
from extrabert_hf.tasks import PAPER_TASKS


@pytest.mark.parametrize("task", PAPER_TASKS.values(), ids=lambda task: task.name)
@pytest.mark.parametrize("bf16", [True, False])
def test_each_step_takes_back_one_setting_and_the_last_is_ours_as_shipped(task, bf16):
    rungs = list(ladder(task, bf16).values())
    for before, after in pairwise(rungs):
        assert after.items() < before.items()
        assert len(before) - len(after) == 1
    assert rungs[-1] == {}


def test_plain_is_without_every_step():
    plain = ladder(PAPER_TASKS["sts"], bf16=True)["plain"]
    fields = {"two_forwards": True, "length_buckets": False, "unpad": False}
    assert plain == {**fields, "bf16": False, "optim": "adamw_torch"}
    assert len(plain) == len(WITHOUT)


def test_a_step_that_brings_nothing_is_left_out():
    assert "two_forwards" not in ladder(PAPER_TASKS["sst"], bf16=True)["plain"]
    assert "bf16" not in ladder(PAPER_TASKS["sts"], bf16=False)["plain"]

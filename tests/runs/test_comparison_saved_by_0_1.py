"""A run that version 0.1.0 wrote (see `tests/fixtures/make_saved_models.py`) is read and compared."""

import json
import re
import shutil
from pathlib import Path

import pytest

from extrabert_hf.runs.comparison import compare_runs
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

RUN = Path(__file__).parents[1] / "fixtures" / "saved_by_0_1" / "run"


def test_the_files_of_the_run_hold_its_scores():
    metrics = json.loads((RUN / "metrics.json").read_text("utf-8"))
    assert TaskSpec.from_dict(metrics["tasks"]["sts"]["task"]) == PAPER_TASKS["sts"]
    assert metrics["tasks"]["sts"]["scores"]["dev"]["rows"] == 90
    assert json.loads((RUN / "trainer_state.json").read_text("utf-8"))["global_step"] == 2


def test_a_run_is_compared_with_a_copy_of_itself(tmp_path):
    copy = shutil.copytree(RUN, tmp_path / "copy")
    text = compare_runs([str(RUN), str(copy)], tmp_path / "comparison")
    assert "-.039 | -.039 | +.000 no interval" in re.sub(" +", " ", text)


@pytest.mark.parametrize("missing", ["metrics.json", "scored/sts-dev.csv"])
def test_a_run_without_a_file_is_an_error_of_one_line(missing, tmp_path):
    copy = shutil.copytree(RUN, tmp_path / "copy")
    (copy / missing).unlink()
    with pytest.raises(ValueError, match=str(copy)) as caught:
        compare_runs([str(RUN), str(copy)], tmp_path / "comparison")
    assert "\n" not in str(caught.value)

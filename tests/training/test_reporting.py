import json
import re

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.finetune import finetune
from extrabert_hf.training.reporting import report_finished

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.ConstantInputWarning")


@pytest.mark.parametrize("task", ["sts", "multitask"])
def test_a_run_leaves_its_report_and_a_finished_one_gets_the_same(task, tiny_encoder, tmp_path):
    words = ["--model_name_or_path", tiny_encoder, "--data", "sample", "--output_dir", str(tmp_path / "run")]
    words += ["--num_train_epochs", "1", "--max_length", "40", "--bf16", "false", "--disable_tqdm", "true"]
    words += ["--logging_steps", "5"]
    finetune(parse_multitask_run(words) if task == "multitask" else parse_run(task, words))
    first = (tmp_path / "run" / "report.html").read_text()
    output = report_finished(tmp_path / "run", tmp_path / "again.html")

    def without_pictures(text):
        return re.sub(r"data:image/png;base64,[^\"]+", "", text)

    assert without_pictures(output.read_text()) == without_pictures(first)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["tasks"]
    for name in ("sst", "para", "sts") if task == "multitask" else ("sts",):
        assert f'<h2 id="{name}">' in first
        for value in metrics[name]["scores"]["dev"]["metrics"].values():
            assert f"{round(value, 3) + 0.0:.3f}".replace("0.", ".", 1) in first
    assert ("gradients of the encoder" in first) == (task == "multitask")


def test_an_unfinished_run_is_named(tmp_path):
    with pytest.raises(InputError, match=r"must be the folder of a finished run, .* has no metrics\.json"):
        report_finished(tmp_path)

import json

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.sharing.run_folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.ConstantInputWarning")


def test_what_is_shared_of_a_run_names_no_path(run_of, tiny_encoder):
    run = RunFolder(run_of("sts"))
    told = json.dumps(run.metrics)
    assert tiny_encoder not in told and str(run.path) not in told and "/tmp" not in told
    entry = run.metrics["tasks"]["sts"]
    assert (entry["model"]["encoder"], entry["model"]["encoder_is_on_hub"]) == (tiny_encoder.split("/")[-1], False)
    assert entry["dataset"] == {"name": "bundled sample of extrabert_hf", "hub_id": None, "config": None}
    assert run.metrics["arguments"]["learning_rate"] == 1e-3 and "output_dir" not in run.metrics["arguments"]
    assert run.max_length == 40


def test_the_figures_of_a_run_are_drawn_from_its_files(run_of):
    for task, names in (("sts", {"sts-dev", "training"}), ("sst", {"sst-dev", "training"})):
        run = RunFolder(run_of(task))
        captions = run.draw_figures()
        assert set(captions) == {f"figures/{name}.png" for name in names}
        assert all((run.path / path).read_bytes().startswith(b"\x89PNG") for path in captions)


def test_several_tasks_have_a_figure_each_and_their_conflicts(run_of):
    names = RunFolder(run_of("multitask")).draw_figures()
    assert {f"figures/{name}.png" for name in ("sst-dev", "para-dev", "sts-dev", "gradient_conflicts")} <= set(names)


def test_rejected_rows_are_counted_by_reason(run_of):
    run = RunFolder(run_of("sst"))
    rows = [{"file": "a.csv", "line": n, "reason": reason, "row": {}} for n, reason in enumerate(["x", "y", "y"])]
    (run.path / "rejected_rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run.rejected == {"y": 2, "x": 1}


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"must hold a trained model with its config.json, got "):
        RunFolder(tmp_path)

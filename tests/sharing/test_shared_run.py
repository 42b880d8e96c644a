import json
from dataclasses import asdict
from pathlib import Path

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.sharing.shared_run import SharedRun

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")


def test_what_is_shared_of_a_run_names_no_path(run_of, tiny_encoder):
    run = SharedRun(run_of("sts"))
    shared = json.dumps(run.metrics.to_dict())
    assert tiny_encoder not in shared and str(run.path) not in shared and "/tmp" not in shared
    entry = run.metrics.tasks["sts"]
    assert (entry.model.encoder, entry.model.encoder_is_on_hub) == (tiny_encoder.split("/")[-1], False)
    assert asdict(entry.dataset) == {"name": "bundled sample of extrabert_hf", "hub_id": None, "config": None}
    assert run.metrics.arguments["learning_rate"] == 1e-3 and "output_dir" not in run.metrics.arguments
    assert run.max_length == 40
    assert "distillation" not in run.metrics.arguments


def test_what_taught_a_run_is_shared_without_its_name(run_of):
    run = SharedRun(run_of("sts"))
    metrics = json.loads((run.path / "metrics.json").read_text())
    metrics["arguments"] |= {"teachers": ["/home/jane/a", "/home/jane/b"], "r_drop": 1.0}
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    arguments = run.metrics.arguments
    assert (arguments["teachers"], arguments["distillation"], arguments["r_drop"]) == (2, 0.5, 1.0)
    assert "jane" not in json.dumps(run.metrics.to_dict())


def test_the_figures_of_a_run_are_drawn_from_its_files(run_of):
    for task, names in (("sts", {"sts-dev", "training"}), ("sst", {"sst-dev", "training"})):
        run = SharedRun(run_of(task))
        captions = run.draw_figures()
        assert set(captions) == {f"figures/{name}.png" for name in names}
        assert all((run.path / path).read_bytes().startswith(b"\x89PNG") for path in captions)


def test_several_tasks_have_a_figure_each_and_their_conflicts(run_of):
    names = SharedRun(run_of("multitask")).draw_figures()
    assert {f"figures/{name}.png" for name in ("sst-dev", "para-dev", "sts-dev", "gradient_conflicts")} <= set(names)


def test_rejected_rows_are_counted_by_reason(run_of):
    run = SharedRun(run_of("sst"))
    secret = ["label 'Jane Doe, ill' is not a number", "label 'John, well' is not a number"]
    reasons = ["no label", *secret, "not valid CSV: Jane Doe", "empty sentence1", "text stands in dev too"]
    reasons += ["text is also in an earlier row"]
    rows = [{"file": "a.csv", "line": n, "reason": reason, "row": {}} for n, reason in enumerate(reasons)]
    (run.path / "rejected_rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run.rejected == {
        **{"a label that the task does not have": 2, "no label": 1, "a line that can't be read": 1},
        **{"empty sentence1": 1, "text stands in dev too": 1, "text is also in an earlier row": 1},
    }
    assert next(iter(run.rejected)) == "a label that the task does not have"


@pytest.mark.parametrize(("task_name", "shown"), [("stars", "stars"), (None, "sst")])
def test_a_model_without_metrics_has_the_task_that_its_config_names(task_name, shown, run_of):
    folder = run_of("sst")
    (folder / "metrics.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"task_name": task_name}))
    assert SharedRun(folder).heads == {shown: "sentiment"}


def test_a_folder_is_never_taken_for_an_encoder_of_the_hub(run_of, monkeypatch, tmp_path):
    folder = run_of("sts")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["tasks"]["sts"]["model"]["model_name_or_path"] = "models/mine"  # as it was called, from another folder
    (folder / "metrics.json").write_text(json.dumps(metrics))
    config = json.loads((folder / "config.json").read_text())
    config["backbone_config"]["_name_or_path"] = "models/mine"
    (folder / "config.json").write_text(json.dumps(config))
    run = SharedRun(folder)
    assert run.hub_encoder is None and "models/mine" not in json.dumps([run.metrics.to_dict(), run.config])


def test_a_part_of_a_run_and_a_model_of_others_are_refused(run_of, tmp_path, tiny_encoder):
    folder = run_of("sts")
    for part in ("adapter", "checkpoint-17"):
        (folder / part).mkdir(exist_ok=True)
        with pytest.raises(
            InputError, match=f"must be the folder of a run, got a part of a run in .*{part}: use {folder}"
        ):
            SharedRun(folder / part)
    with pytest.raises(InputError, match="must hold a model of this package, got one of type 'bert'"):
        SharedRun(Path(tiny_encoder))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"must hold a trained model with its config.json, got "):
        SharedRun(tmp_path)

import json
import re

import pytest
from huggingface_hub import EvalResult, ModelCard

from extrabert_hf.runs.folder import CARD_MARK
from extrabert_hf.sharing.model_card import HUB_METRICS, HUB_TASKS, HubArguments, render_card
from extrabert_hf.sharing.shared_run import SharedRun

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")


def card_of(folder, **options):
    run = SharedRun(folder)
    sharing = HubArguments(hub_license="apache-2.0", hub_language="en")
    return render_card(run, "me/the-model", sharing, run.draw_figures(), **options)


@pytest.mark.parametrize("task", ["sst", "para", "sts", "multitask"])
def test_the_cards_numbers_are_those_of_the_run(task, run_of):
    folder = run_of(task)
    written = json.loads((folder / "metrics.json").read_text())["tasks"]
    card = ModelCard(card_of(folder))
    results = {(r.task_name, r.dataset_split, r.metric_type): r for r in card.data.eval_results}
    assert all(isinstance(result, EvalResult) for result in results.values())
    due = {
        (name, split, HUB_METRICS.get(metric, metric)): (value, report, metric, entry)
        for name, entry in written.items()
        for split, report in entry["scores"].items()
        for metric, value in report["metrics"].items()
    }
    assert results.keys() == due.keys() and len(due) >= 2
    for key, (value, report, metric, entry) in due.items():
        result = results[key]
        assert result.metric_value == value
        assert result.metric_args["confidence_interval_95"] == report["intervals"][metric]
        assert result.metric_args["rows"] == report["rows"]
        assert result.metric_args.get("majority_baseline") == report["majority_baseline"].get(metric)
        assert result.task_type == HUB_TASKS[entry["task"]["head"]]
        low, high = report["intervals"][metric]
        interval = rf"\[{cell(low)}, {cell(high)}\]" if low < high else "no interval"
        line = rf"\| {key[0]} {key[1]} \| {report['rows']} \| [\w ]+ \| {cell(value)} \| {interval} \|"
        assert re.search(line, card.text)


def cell(value):
    return re.escape(f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}")


def test_the_metadata_is_what_the_hub_reads(run_of):
    data = ModelCard(card_of(run_of("sts"))).data
    assert (data.license, data.language, data.library_name) == ("apache-2.0", "en", "transformers")
    assert (data.pipeline_tag, data.tags) == ("sentence-similarity", ["extrabert", "similarity"])
    assert data.base_model is None  # a folder: it has no name on the Hub
    assert data.model_name == "the-model" and data.metrics == ["mse", "pearsonr", "spearmanr"]


def test_an_encoder_and_a_data_set_of_the_hub_are_linked(run_of):
    folder = run_of("sts")
    metrics = json.loads((folder / "metrics.json").read_text())
    on_hub = {"encoder": "sentence-transformers/all-MiniLM-L6-v2", "encoder_is_on_hub": True}
    metrics["tasks"]["sts"]["model"] |= on_hub
    metrics["tasks"]["sts"]["dataset"] = {"name": "nyu-mll/glue (stsb)", "hub_id": "nyu-mll/glue", "config": "stsb"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    card = ModelCard(card_of(folder))
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert card.data.datasets == ["nyu-mll/glue"]
    assert "https://huggingface.co/datasets/nyu-mll/glue" in card.text


@pytest.mark.parametrize(
    ("task", "encoder", "is_said"),
    [
        ("para", "sentence-transformers/all-mpnet-base-v2", True),
        ("sts", "sentence-transformers/all-MiniLM-L6-v2", True),
        ("sst", "sentence-transformers/all-MiniLM-L6-v2", False),
        ("sts", "google-bert/bert-base-uncased", False),
    ],
)
def test_a_card_says_what_pairs_the_encoder_knew_before(task, encoder, is_said, run_of):
    folder = run_of(task)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["tasks"][task]["model"] |= {"encoder": encoder, "encoder_is_on_hub": True}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert ("duplicate questions of Quora" in card_of(folder)) == is_said


@pytest.mark.parametrize("task", ["sst", "para", "sts", "multitask"])
def test_a_card_is_whole_markdown(task, run_of):
    text = card_of(run_of(task))
    assert CARD_MARK in text and text.count("```") % 2 == 0 and "{{" not in text and "{%" not in text
    assert "\n\n\n" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    for figure in re.findall(r"!\[.*\]\((.+)\)", text):
        assert figure.startswith("figures/")
    for part in ("## Scores", "## Use", "## Data", "## Training", "## Limits", "## Licence and citation", "@misc{"):
        assert part in text
    assert text.count("me/the-model") >= 4


@pytest.mark.parametrize("task", ["sst", "para", "multitask"])
def test_the_examples_of_a_card_run(task, run_of):
    folder = run_of(task)
    text = card_of(folder)
    blocks = re.findall(r"```python\n(.+?)```", text, flags=re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block.replace("me/the-model", str(folder)), "card", "exec"), {})


def test_tasks_of_one_data_set_have_an_entry_each(run_of):
    folder = run_of("multitask")
    metrics = json.loads((folder / "metrics.json").read_text())
    for name in ("sst", "para"):
        metrics["tasks"][name]["dataset"] = {"name": "me/data", "hub_id": "me/data", "config": None}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    index = ModelCard(card_of(folder)).data.to_dict()["model-index"][0]["results"]
    assert [entry["task"]["name"] for entry in index] == ["sst", "para", "sts"]
    assert [len(entry["metrics"]) for entry in index] == [4, 2, 3]


def test_what_the_audit_found_stands_in_the_card(run_of):
    folder = run_of("sts")
    path = folder / "data_audit.json"
    report = json.loads(path.read_text())
    report["sts"]["leaks"]["dev"]["rows"] = 13
    path.write_text(json.dumps(report))
    assert "- sts: 13 of 90 dev rows are also in train\n" in card_of(folder)


def test_the_guarantee_of_prediction_sets_is_in_the_card(run_of):
    folder = run_of("para")
    assert "conformal" not in card_of(folder)
    config = json.loads((folder / "config.json").read_text())
    config["conformal"] = {"method": "aps", "coverage": 0.9, "rows": 1234, "quantiles": [0.8]}
    (folder / "config.json").write_text(json.dumps(config))
    card = card_of(folder)
    assert "For `para`, the prediction set of a new row holds the label with a probability of 0.9 or more" in card
    assert "(conformal prediction, method aps, 1,234 rows)" in card and "as `prediction_set`" in card


def test_a_calibration_stands_in_the_card_with_what_it_was_worth(run_of):
    folder = run_of("para")
    assert "calibrated" not in card_of(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    scores = {"accuracy": 0.8, "expected_calibration_error": 0.125, "nll": 0.671}
    after = {"accuracy": 0.85, "expected_calibration_error": 0.013, "nll": 0.345}
    report = {"temperature": 3.1, "bias": -0.75, "rows": 200, "before": scores, "after": after}
    metrics["tasks"]["para"]["calibration"] = report | {"accuracy_gain": [0.01, 0.09]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    card = card_of(folder)
    assert "probabilities of `para` are calibrated on the dev rows (temperature 3.10, bias -0.75)" in card
    assert "accuracy .800 -> .850, expected calibration error .125 -> .013" in card
    assert "\n\n\n" not in card


@pytest.mark.parametrize(
    ("encoding", "apart"), [("bi_encoder", True), ("cross_encoder", False), ("separate", True), ("joint", False)]
)
def test_the_card_says_whether_the_sentences_of_a_pair_are_encoded_apart(encoding, apart, run_of):
    folder = run_of("sts")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pair_encoding": encoding}))
    assert ("The two sentences of a pair are encoded separately" in card_of(folder)) == apart


def test_settings_that_composed_runs_do_not_share_are_not_in_the_card(run_of):
    folder = run_of("sts")
    assert "| LoRA | r 4, alpha 16, dropout 0.05 |\n" in card_of(folder)
    assert re.search(r"\| machine \| .+, \d+ threads \|\n", card_of(folder))
    metrics = json.loads((folder / "metrics.json").read_text())
    for record, name in (("lora", "lora_alpha"), ("machine", "cpu"), ("arguments", "seed")):
        del metrics[record][name]
    metrics["machine"].pop("accelerator", None)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    card = card_of(folder)
    assert "| LoRA | r 4, dropout 0.05 |\n" in card and "| machine |" not in card
    assert "from one run with one seed. " in card


def test_a_weighting_of_the_losses_is_in_the_card_unless_it_is_none(run_of):
    folder = run_of("multitask")
    assert "weighting of the tasks' losses" not in card_of(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["multitask"] |= {"aggregator": "sum", "loss_weighting": "famo"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    card = card_of(folder)
    assert "| aggregator of the tasks' gradients | sum |\n| weighting of the tasks' losses | famo |\n" in card


def test_an_adapters_card_names_the_encoder_it_is_for(run_of):
    card = ModelCard(card_of(run_of("sts"), adapter_of="google-bert/bert-base-uncased"))
    assert card.data.base_model == "google-bert/bert-base-uncased"
    assert card.data.to_dict()["base_model_relation"] == "adapter" and "lora" in card.data.tags


def test_a_model_without_a_run_has_a_card_without_scores(run_of):
    folder = run_of("para")
    for name in ("metrics.json", "trainer_state.json", "rejected_rows.jsonl"):
        (folder / name).unlink()
    card = ModelCard(card_of(folder))
    assert card.data.eval_results is None and "No scores: the folder of the model has no evaluation." in card.text

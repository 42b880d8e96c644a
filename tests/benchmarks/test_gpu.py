import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, BertConfig, MPNetConfig

from benchmarks import gpu
from benchmarks.gpu_checks import measure_correctness
from benchmarks.gpu_measures import Bench, StepClock, measure_training
from benchmarks.measures import function_of
from benchmarks.peers import BFLOAT16, sentence_transformers_trainer, transformers_trainer
from benchmarks.workloads import our_trainer, quiet_libraries
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.tasks import SENTENCE_COLUMNS
from tests.conftest import SIZES

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
SMALL = {**SIZES, "vocab_size": 6000}


@pytest.fixture
def bench(tiny_encoder, tmp_path):
    configs = {"bert-base": BertConfig(**SMALL), "mpnet-base": MPNetConfig(**SMALL)}
    return Bench(tiny_encoder, "sample", tmp_path, steps=2, warm_up=1, pairs=20, random_encoders=configs)


@pytest.mark.parametrize("number", range(6))
def test_each_section_measures(number, bench, tmp_path):
    stage = gpu.stages_of(bench, ["minilm", "mpnet-base"])[number]
    stage = replace(stage, measures=dict(list(stage.measures.items())[:2]))
    results = gpu.Results(tmp_path / "gpu.json", seconds=100)
    results.run([stage])
    assert not results.failed
    found = json.loads((tmp_path / "gpu.json").read_text())[stage.section]
    assert found.keys() == stage.measures.keys() and all(len(entry) > 1 for entry in found.values())
    assert gpu.table(results.found).count("\n") == 1 + (len(found) if number > 2 else 0)


@pytest.mark.parametrize("name", ["bert-base", "mpnet-base"])
def test_correctness_compares_both_ways_with_the_same_weights(bench, name):
    found = measure_correctness(bench, name)
    assert 0 < found["float32_unpadded_against_padded"] + found["float32_gradient"] < 1e-4 < found["largest_logit"]


@pytest.mark.parametrize(
    ("build", "task"),
    [(our_trainer, "sts"), (sentence_transformers_trainer, "sts"), (partial(transformers_trainer, **BFLOAT16), "sst")],
)
def test_the_clock_counts_the_real_tokens_of_every_step(bench, build, task):
    rows = bench.rows(task, 12)
    with quiet_libraries():
        trainer = build(bench.setting("minilm", 4), {task: rows})
        clock = StepClock(trainer, warm_up=1)
        function_of(trainer)()
    assert len(clock.lengths) == 3 and 0 < clock.seconds < 100
    tokenizer = AutoTokenizer.from_pretrained(bench.encoder("minilm"))
    columns = [name for name in SENTENCE_COLUMNS if name in rows.column_names]
    expected = sum(len(ids) for name in columns for ids in tokenize_sentences(tokenizer, rows[name][:]))
    assert sum(int(part.sum()) for step in clock.lengths for part in step) == expected


def test_a_failure_is_written_and_does_not_end_the_other_measurements(tmp_path, capsys):
    def fail():
        raise RuntimeError("no kernel\nfor this card")

    results = gpu.Results(tmp_path / "gpu.json", seconds=100)
    results.run([gpu.Stage("training", 1.0, {"first": fail, "second": lambda: {"steps_per_second": float("nan")}})])
    found = json.loads((tmp_path / "gpu.json").read_text())["training"]
    assert results.failed and "no kernel" in found["first"]["error"] and "test_gpu.py" in found["first"]["at"]
    assert found["second"]["steps_per_second"] is None
    assert "RuntimeError" in capsys.readouterr().err


def test_a_stage_leaves_the_rest_of_its_measurements_for_the_end_and_none_starts_after_the_time(tmp_path):
    order, now = [], iter(range(1000))

    class Clocked(gpu.Results):
        @property
        def spent(self):
            return self.time

        def measure(self, section, name, measure):
            self.time += 4.0
            order.append(name)

    results = Clocked(tmp_path / "gpu.json", seconds=15.0)
    results.time = float(next(now))
    stages = [gpu.Stage("training", 0.2, dict.fromkeys("abcd", dict)), gpu.Stage("scoring", 1.0, {"e": dict})]
    results.run(stages)
    assert order == ["a", "e", "b", "c"]
    assert results.found == {"training": {"d": {"not_started": "after 15 seconds"}}}


def test_a_measurement_that_hangs_is_stopped():
    with pytest.raises(TimeoutError), gpu.stopped_after(1):
        while True:
            pass


def test_dropout_of_attention_weights_is_off_where_the_kernel_needs_it(bench):
    trainer = gpu.training_measures(bench, "bert-base", ("sts",), (4,))["bert-base sts 4 ours, no attention dropout"]
    found = {}

    def watched(setting, rows):
        found["trainer"] = trainer.args[-1](setting, rows)
        return found["trainer"]

    with quiet_libraries():
        measure_training(bench, "bert-base", ("sts",), 4, watched)
    dropouts = {
        name: module.p for name, module in found["trainer"].model.named_modules() if isinstance(module, nn.Dropout)
    }
    assert {p for name, p in dropouts.items() if name.endswith("attention.self.dropout")} == {0.0}
    assert found["trainer"].model.backbone.config.attention_probs_dropout_prob == 0.0
    assert 0.1 in dropouts.values()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CPU has no float16 training")
def test_float16_is_skipped_without_a_gpu(bench):
    (stage,) = [stage for stage in gpu.stages_of(bench, []) if stage.section == "surgery"]
    assert stage.measures["fp16"]() == {"skipped": "fp16 needs a GPU"}


@pytest.mark.launch
@pytest.mark.skipif(os.name != "posix", reason="needs bash")
@pytest.mark.parametrize("words", [[], ["pack"], ["run", "encoder", "data"], ["other"]])
def test_without_all_words_it_says_what_to_type(words):
    environment = os.environ | {"PYTHON": sys.executable}
    finished = subprocess.run(["bash", SCRIPT, *words], capture_output=True, text=True, env=environment)
    assert finished.returncode == 2 and "gpu.sh pack FOLDER" in finished.stderr

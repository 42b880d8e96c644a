import logging
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from benchmarks import peers
from benchmarks.measures import function_of
from benchmarks.runner import load_rows
from benchmarks.suite import BENCHMARKS
from benchmarks.workloads import Setting, quiet_libraries
from extrabert_hf.tasks import PAPER_TASKS


@pytest.fixture
def setting(tiny_encoder, tmp_path):
    pytest.importorskip("sentence_transformers")
    return Setting(tiny_encoder, batch_size=4, bf16=False, output_dir=str(tmp_path))


def rows_of(benchmark, count):
    return {task: load_rows(PAPER_TASKS[task], "sample", count) for task in benchmark.tasks}


def test_the_first_candidate_is_the_peer_as_its_guide_has_it():
    options = {name: benchmark.options() for name, benchmark in BENCHMARKS.items()}
    assert {name for name, candidates in options.items() if not candidates} == {"surgery"}
    for candidates in filter(None, options.values()):
        assert next(iter(candidates.values())) == {} and all(list(candidates.values())[1:])


def test_an_int8_backend_is_a_candidate_where_its_module_can_be_imported_and_is_named_where_not(monkeypatch, caplog):
    onnx, openvino = ModuleType("optimum.onnxruntime"), ModuleType("optimum.intel.openvino")
    onnx.ORTModelForFeatureExtraction = object

    def lazy(name):
        raise ImportError("cannot import name 'x' from 'transformers'")

    openvino.__getattr__ = lazy  # of a release for another transformers
    for module in (ModuleType("optimum"), ModuleType("optimum.intel"), onnx, openvino):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    caplog.set_level(logging.INFO, logger="extrabert_hf")
    candidates = peers.sentence_transformers_scoring_options()
    of_backends = {name: options for name, options in candidates.items() if "int8" in name}
    assert list(of_backends) == [f"onnx int8, batches of {size}" for size in (32, 128, 256)]
    assert of_backends["onnx int8, batches of 128"] == {"backend": "onnx", "batch_size": 128}
    (message,) = caplog.messages
    assert (
        message
        == "sentence-transformers with openvino int8 is not measured: cannot import name 'x' from 'transformers'"
    )
    monkeypatch.setitem(sys.modules, "optimum.onnxruntime", None)  # not installed
    assert not any("int8" in name for name in peers.sentence_transformers_scoring_options())


@pytest.mark.parametrize("name", ["train-sst", "train-para", "train-sts"])
def test_options_of_a_trainer_reach_it(name, setting):
    for options, build in BENCHMARKS[name].candidates(setting).items():
        with quiet_libraries():
            args = build(rows_of(BENCHMARKS[name], 4)).args
        assert args.bf16 is ("bfloat16" in options)
        assert (args.train_sampling_strategy == "group_by_length") is ("group_by_length" in options)
        assert args.dataloader_num_workers == (2 if "2 loader processes" in options else 0)


def test_every_candidate_for_scoring_scores_all_pairs(setting):
    benchmark = BENCHMARKS["score-pairs"]
    guide, *others = [
        function_of(build(rows_of(benchmark, 10)))().float().numpy()
        for name, build in benchmark.candidates(setting).items()
        if "int8" not in name
    ]
    assert len(others) == 5 and np.ptp(guide) > 0
    for scores in others:
        np.testing.assert_allclose(scores, guide, atol=0.03)


def test_weights_in_bfloat16_and_the_batch_size_reach_the_encoder(setting, monkeypatch):
    from sentence_transformers import SentenceTransformer

    seen = {}

    def encode(model, sentences, **options):
        seen.update(options, dtype=next(model.parameters()).dtype)
        return torch.ones(len(sentences), 2)

    monkeypatch.setattr(SentenceTransformer, "encode", encode)
    candidates = BENCHMARKS["score-pairs"].candidates(setting)
    candidates["bfloat16 weights, batches of 256"](rows_of(BENCHMARKS["score-pairs"], 4))()
    assert (seen["dtype"], seen["batch_size"]) == (torch.bfloat16, 256)

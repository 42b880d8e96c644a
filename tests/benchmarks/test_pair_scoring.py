import numpy as np
import pytest

from benchmarks.runner import BenchmarkArguments, load_rows, run_benchmark
from benchmarks.workloads import Setting, our_scoring, sentence_transformers_scoring
from extrabert_hf.tasks import PAPER_TASKS


def test_both_give_the_same_scores_of_all_pairs(tiny_encoder):
    pytest.importorskip("sentence_transformers")
    setting = Setting(tiny_encoder, batch_size=4, bf16=False, output_dir="unused")
    rows = {"para": load_rows(PAPER_TASKS["para"], "sample", 30)}
    ours = our_scoring(setting, rows)()
    theirs = sentence_transformers_scoring(setting, rows)()
    assert ours.shape == (30,) and np.ptp(ours) > 0
    np.testing.assert_allclose(ours / 5, theirs.numpy(), atol=1e-5)


def test_scoring_is_measured_in_rows(tiny_encoder):
    pytest.importorskip("sentence_transformers")
    told = {"only": ["score-pairs"], "rounds": 2, "rows": 8, "steps": True, "scaling": True}
    (entry,) = run_benchmark(BenchmarkArguments(model_name_or_path=tiny_encoder, **told))
    assert [size["rows"] for size in entry["scaling"]["rows"]] == [2, 4, 8]
    assert (entry["name"], entry["unit"], len(entry["ratios"])) == ("score-pairs", "rows/s", 2)
    assert ", encode in its batches of 32 and cosine" in entry["peer_name"] and "steps" not in entry

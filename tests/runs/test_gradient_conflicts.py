from extrabert_hf.runs.gradient_conflicts import PairConflicts, summarize_conflicts


def test_a_step_conflicts_if_any_pair_of_it_does():
    rows = [(1, "a", "b", 0.5), (1, "a", "c", -0.5), (2, "a", "b", 0.1), (2, "a", "c", 0.3)]
    summary = summarize_conflicts(rows)
    assert (summary.steps, summary.conflicting_steps) == (2, 0.5)
    assert summary.pairs["a_b"] == PairConflicts(mean_cosine=0.3, conflicting_steps=0.0)
    assert summary.pairs["a_c"].conflicting_steps == 0.5

from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from extrabert_hf.search.results import plot_trials
from extrabert_hf.search.study import PLAN

SPACE = {"batch": CategoricalDistribution([16, 4, 8]), "rate": FloatDistribution(1e-6, 1e-4, log=True)}


def trial(plan, batch, rate, value=None, **fields):
    return create_trial(
        params={"batch": batch, "rate": rate}, distributions=SPACE, value=value, user_attrs={PLAN: plan}, **fields
    )


def test_trials_are_drawn_in_their_order_and_over_each_argument_with_the_best_marked():
    pruned = trial(1, 4, 1e-5, state=TrialState.PRUNED, intermediate_values={1: 0.2, 2: 0.3})
    failed = trial(2, 8, 1e-5, state=TrialState.FAIL)
    trials = [trial(0, 16, 1e-6, 0.5), pruned, failed, trial(3, 16, 1e-4, 0.7)]
    order, batch, rate = plot_trials(trials, ["batch", "rate"], trials[3], "accuracy on dev").axes
    complete, stopped, best = (points.get_offsets().tolist() for points in order.collections)
    assert (complete, stopped, best) == ([[0, 0.5], [3, 0.7]], [[1, 0.3]], [[3, 0.7]])
    assert batch.collections[0].get_offsets().tolist() == [[0, 0.5], [0, 0.7]]
    assert [label.get_text() for label in batch.get_xticklabels()] == ["16", "4", "8"]
    assert (order.get_ylabel(), rate.get_xscale()) == ("accuracy on dev", "log")


def test_a_kind_of_trial_that_there_is_none_of_is_not_in_the_legend():
    trials = [trial(0, 16, 1e-6, 0.5)]
    legend = plot_trials(trials, ["rate"], trials[0], "score").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["complete", "best"]

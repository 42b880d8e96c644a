import sys

import pytest
import torch
from torch.testing import assert_close

from extrabert_hf.errors import InputError
from extrabert_hf.training.gradient_surgery import (
    AGGREGATORS,
    TORCHJD_WEIGHTINGS,
    combine,
    get_aggregator,
    gram_matrix,
    mean_weights,
    pcgrad_weights,
    sum_weights,
)
from tests.training.literal_pcgrad import literal_pcgrad

SIZES = (2, 3, 5, 8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_gradients(tasks, seed, width=3):
    """Task gradients `(T, P)` of quite different lengths, in few dimensions, so that many oppose each other."""
    drawn = generator(seed)
    lengths = torch.logspace(-2, 2, tasks, dtype=torch.float64)[torch.randperm(tasks, generator=drawn)]
    return lengths.unsqueeze(1) * torch.randn(tasks, width, generator=drawn, dtype=torch.float64)


def pcgrad(gradients, seed=0):
    return pcgrad_weights(gradients @ gradients.T, generator(seed)) @ gradients


@pytest.mark.parametrize("tasks", SIZES)
def test_pcgrad_is_algorithm_1_line_by_line(tasks):
    for seed in range(100):
        gradients = random_gradients(tasks, seed)
        assert_close(pcgrad(gradients, seed), literal_pcgrad(gradients, generator(seed)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tasks", SIZES)
def test_pcgrad_is_that_of_torchjd(tasks):
    aggregation = pytest.importorskip("torchjd.aggregation")
    for seed in range(100):
        gradients = random_gradients(tasks, seed)
        torch.manual_seed(seed)  # torchjd draws from the global generator
        assert_close(pcgrad(gradients, seed), aggregation.PCGrad()(gradients), rtol=1e-9, atol=1e-9)


def including_itself(gram, generator):
    """PCGrad with `j = i` included: a copy that has come to oppose its own original loses its projection on that."""
    copies = torch.eye(len(gram), dtype=torch.float64)
    for copy in copies:
        for j in torch.randperm(len(gram), generator=generator).tolist():
            if (product := gram[j] @ copy) < 0:
                copy[j] -= product / gram[j, j]
    return copies.sum(dim=0)


def test_these_gradients_show_a_task_that_is_projected_on_itself():
    wrong = 0
    for seed in range(100):
        gradients = random_gradients(5, seed)
        broken = including_itself(gradients @ gradients.T, generator(seed)) @ gradients
        wrong += not torch.allclose(broken, literal_pcgrad(gradients, generator(seed)))
    assert wrong > 3


def test_pcgrad_of_two_tasks_opposes_neither():
    opposed = 0
    for seed in range(200):
        gradients = random_gradients(2, seed)
        opposed += bool(gradients[0] @ gradients[1] < 0)
        assert (gradients @ pcgrad(gradients) >= -1e-9 * gradients.square().sum()).all()
    assert 50 < opposed < 150


def test_pcgrad_of_two_opposing_tasks_is_the_same_in_any_order():
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    for seed in range(5):
        assert_close(pcgrad(gradients, seed), torch.tensor([0.5, 1.5]))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_one_task_gets_its_plain_gradient(name):
    assert_close(get_aggregator(name)(torch.tensor([[4.0]]), generator()), torch.tensor([1.0]))


def test_without_conflict_pcgrad_is_the_plain_sum():
    gradients = torch.rand(4, 6, generator=generator())  # all in one quadrant
    assert pcgrad_weights(gradients @ gradients.T, generator()).tolist() == [1.0] * 4


def test_a_gradient_of_zero_changes_nothing():
    gradients = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
    assert_close(pcgrad(gradients), pcgrad(gradients[[0, 2]]))


def test_a_gradient_whose_square_rounds_to_zero_is_not_divided_by():
    gradients = torch.tensor([[1.0], [-1e-30]])
    assert pcgrad_weights(gradients @ gradients.T, generator()).isfinite().all()


def test_exactly_opposite_gradients_leave_nothing():
    gradients = torch.tensor([[1.0, 2.0], [-2.0, -4.0]])
    assert_close(pcgrad(gradients), torch.zeros(2))


def test_a_common_factor_changes_no_coefficient():
    """What makes the update right under the loss scale of a `GradScaler`."""
    gradients = random_gradients(4, seed=1)
    gram = gradients @ gradients.T
    assert_close(pcgrad_weights(gram * 2.0**32, generator()), pcgrad_weights(gram, generator()))


def test_orders_come_from_the_generator_alone():
    gradients = random_gradients(5, seed=2)
    torch.manual_seed(1)
    first, state = pcgrad(gradients, 3), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(pcgrad(gradients, 3), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # dropout goes on as it would have
    assert any(not torch.allclose(pcgrad(gradients, seed), first) for seed in range(4, 9))


def test_coefficients_have_the_type_of_the_gram_matrix():
    for dtype in (torch.float32, torch.float64):
        gram = torch.eye(3, dtype=dtype)
        assert {weights(gram, generator()).dtype for weights in AGGREGATORS.values()} == {dtype}


def test_mean_and_sum_are_plain():
    gram = torch.tensor([[1.0, -9.0], [-9.0, 100.0]])
    assert mean_weights(gram, generator()).tolist() == [0.5, 0.5]
    assert sum_weights(gram, generator()).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", TORCHJD_WEIGHTINGS)
def test_an_aggregator_of_torchjd_is_what_it_is_there(name):
    aggregation = pytest.importorskip("torchjd.aggregation")
    of_torchjd = getattr(aggregation, TORCHJD_WEIGHTINGS[name])(**({"c": 0.5} if name == "cagrad" else {}))
    gradients = random_gradients(3, seed=4, width=8)
    gram = gradients @ gradients.T
    ours = get_aggregator(name)(gram.float(), generator())
    assert ours.dtype == torch.float32
    assert_close(ours, of_torchjd(gram).float(), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(ours, torch.ones(3))


@pytest.mark.parametrize("name", TORCHJD_WEIGHTINGS)
def test_gradients_as_small_as_at_the_end_of_training_are_joined_as_larger_ones(name):
    pytest.importorskip("torchjd")
    gradients = random_gradients(3, seed=4, width=8)
    gram = gradients @ gradients.T
    assert_close(get_aggregator(name)(gram * 1e-12, generator()), get_aggregator(name)(gram, generator()))


def test_every_aggregator_of_torchjd_that_promises_it_opposes_no_task():
    pytest.importorskip("torchjd")
    for seed in range(20):
        gradients = random_gradients(3, seed, width=8)
        gradients /= gradients.norm(dim=1, keepdim=True)
        for name in ("upgrad", "mgda", "dualproj"):
            update = get_aggregator(name)(gradients @ gradients.T, generator()) @ gradients
            assert (gradients @ update > -1e-3).all(), name


def test_an_unknown_aggregator_is_named_with_those_there_are():
    with pytest.raises(
        InputError, match=r"`aggregator` must be one of 'mean', 'sum', 'pcgrad', .*'upgrad', got 'magic'"
    ):
        get_aggregator("magic")


def test_without_torchjd_its_aggregators_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(
        InputError, match=r"`aggregator` 'upgrad' needs torchjd: pip install 'extrabert_hf\[torchjd\]'"
    ):
        get_aggregator("upgrad")
    assert get_aggregator("pcgrad") is pcgrad_weights


def parameters_of(gradients, missing=()):
    """Cuts `(T, 6)` into two parameters of shapes (2, 2) and (2,); `missing` are `None`, where there must be zeros."""
    return [
        [None if (task, part) in missing else piece for part, piece in enumerate((row[:4].view(2, 2), row[4:]))]
        for task, row in enumerate(gradients)
    ]


def test_gram_matrix_and_combination_are_those_of_whole_vectors():
    gradients = random_gradients(3, seed=5, width=6)
    gradients[1, 4:] = 0  # task 1 does not reach the second parameter
    parts = parameters_of(gradients, missing={(1, 1)})
    gram = gram_matrix(parts)
    assert gram.dtype == torch.float64
    assert_close(gram, gradients @ gradients.T, rtol=1e-5, atol=1e-5)
    coefficients = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    expected = coefficients @ gradients
    updates = combine(coefficients, parts)
    assert_close(torch.cat([update.flatten() for update in updates]), expected)


def test_a_parameter_that_no_task_reaches_gets_no_update():
    parts = parameters_of(random_gradients(2, seed=6, width=6), missing={(0, 1), (1, 1)})
    assert combine(torch.ones(2), parts)[1] is None


def test_combining_takes_no_memory_of_its_own():
    parts = parameters_of(random_gradients(3, seed=7, width=6))
    first = [gradient.data_ptr() for gradient in parts[0]]
    assert [update.data_ptr() for update in combine(torch.ones(3), parts)] == first


def test_gradients_of_half_precision_are_multiplied_in_float32():
    gradients = torch.tensor([[300.0], [400.0]], dtype=torch.float16)  # whose square is beyond float16
    assert gram_matrix([[row] for row in gradients]).tolist() == [[9e4, 12e4], [12e4, 16e4]]

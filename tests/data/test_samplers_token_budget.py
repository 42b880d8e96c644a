import pytest
import torch

from extrabert_hf.data.samplers import TokenBudgetBatchSampler
from extrabert_hf.errors import InputError

LENGTHS = torch.randint(2, 40, (500,), generator=torch.Generator().manual_seed(1)).tolist()


def test_every_row_comes_once_and_no_batch_is_over_its_budget():
    batches = list(TokenBudgetBatchSampler(LENGTHS, 200, seed=3))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    sizes = [len(batch) * max(LENGTHS[row] for row in batch) for batch in batches]
    assert max(sizes) <= 200 and sum(sizes) / len(sizes) > 170


def test_an_epoch_is_a_function_of_seed_and_number_and_all_have_as_many_batches():
    def epoch(seed, number):
        sampler = TokenBudgetBatchSampler(LENGTHS, 200, seed)
        sampler.set_epoch(number)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        return batches

    assert epoch(3, 1) == epoch(3, 1) != epoch(3, 0)
    assert epoch(3, 1) != epoch(4, 1) and len(epoch(3, 1)) == len(epoch(3, 0))


@pytest.mark.parametrize("multiple_of", [2, 3, 8])
def test_processes_get_as_many_batches_each_and_no_row_twice(multiple_of):
    batches = list(TokenBudgetBatchSampler(LENGTHS, 333, seed=0, multiple_of=multiple_of))
    assert len(batches) % multiple_of == 0
    assert all(batches) and max(len(batch) * max(LENGTHS[row] for row in batch) for batch in batches) <= 333
    assert sorted(row for batch in batches for row in batch) == list(range(500))


def test_a_budget_below_a_row_and_too_few_rows_are_refused():
    with pytest.raises(InputError, match="`max_tokens_per_batch` must be 39 or more, the tokens of the longest row"):
        TokenBudgetBatchSampler(LENGTHS, 38, seed=0)
    with pytest.raises(InputError, match="makes 3 batches of one row each, which must be a multiple of 2"):
        TokenBudgetBatchSampler([10, 10, 10], 10, seed=0, multiple_of=2)
    with pytest.raises(InputError, match="a train row for each of 4 batches, got 3"):
        TokenBudgetBatchSampler([1, 1, 1], 10, seed=0, multiple_of=4)

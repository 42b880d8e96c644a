import pytest
import torch
from torch import nn

from extrabert_hf import ExtraBertConfig, ExtraBertForSimilarity
from extrabert_hf.training.dropout import FastDropout, fast_dropout
from extrabert_hf.training.trainer import ExtraBertTrainer
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_the_expected_value_stays(rate, dtype):
    values = torch.full((1000, 1001), 3.0, dtype=dtype)  # a number of elements that 4 does not divide
    dropped = FastDropout(rate)(values)
    is_dropped = dropped == 0
    deviation = (rate * (1 - rate) / values.numel()) ** 0.5
    assert abs(is_dropped.double().mean().item() - rate) < 5 * deviation
    torch.testing.assert_close(dropped[~is_dropped], (values / (1 - rate))[~is_dropped], rtol=1e-2, atol=0)
    assert dropped.double().mean().item() == pytest.approx(3, abs=0.05)
    for shift in (1, 2, 3, 4, 1001):  # the bits of one random number decide about neighbours
        both = (is_dropped.flatten()[shift:] & is_dropped.flatten()[:-shift]).double().mean().item()
        assert both == pytest.approx(rate**2, abs=5 * deviation)


def test_the_gradient_passes_where_a_value_is_kept():
    values = torch.randn(6, 9, requires_grad=True)
    dropped = FastDropout(0.25)(values.t())  # not contiguous
    dropped.sum().backward()
    expected = (dropped.t() != 0) / 0.75
    torch.testing.assert_close(values.grad, expected)


def test_a_seed_gives_the_same_values_again():
    values, dropout = torch.randn(50, 30), FastDropout(0.3)
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append([dropout(values), torch.get_rng_state()])
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert not torch.equal(dropout(values), states[0][0])


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (1e-9, True), (0.5, False)])
def test_nothing_is_dropped_without_a_rate_or_outside_of_training(rate, training):
    values = torch.randn(40, 30)
    torch.testing.assert_close(FastDropout(rate).train(training)(values), values, rtol=0, atol=0)


def test_everything_is_dropped_at_a_rate_of_1():
    assert not FastDropout(1.0)(torch.randn(40, 30)).any()


def test_only_plain_dropout_is_replaced_and_comes_back_after_an_error():
    model = nn.ModuleList([nn.Dropout(0.1), nn.Dropout(0.1, inplace=True), nn.AlphaDropout(0.1)])
    with pytest.raises(KeyboardInterrupt), fast_dropout(model):
        assert [type(module) for module in model] == [FastDropout, nn.Dropout, nn.AlphaDropout]
        raise KeyboardInterrupt
    assert [type(module) for module in model] == [nn.Dropout, nn.Dropout, nn.AlphaDropout]


def test_a_trainer_trains_with_it_on_the_cpu(tiny_bert, random_batch, tmp_path):
    seen = set()

    class Model(ExtraBertForSimilarity):
        def forward(self, *args, **kwargs):
            seen.update((type(module), self.training) for module in self.modules() if isinstance(module, nn.Dropout))
            return super().forward(*args, **kwargs)

    model = Model(ExtraBertConfig(backbone_config=tiny_bert))
    args = ExtraBertTrainingArguments(
        str(tmp_path), max_steps=1, use_cpu=True, length_buckets=False, bf16=False, eval_strategy="no",
        load_best_model_at_end=False, disable_tqdm=True, per_device_train_batch_size=2,
    )  # fmt: skip
    batch = random_batch(2)
    rows = [{name: values[row] for name, values in batch.items()} | {"labels": torch.tensor(2.0)} for row in range(2)]
    ExtraBertTrainer(model, args, train_dataset=rows).train()
    assert seen == {(FastDropout, True)}
    assert {type(module) for module in model.modules() if isinstance(module, nn.Dropout)} == {nn.Dropout}

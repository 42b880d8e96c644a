import numpy as np
import pytest
import torch
from torch import nn

from extrabert_hf import ExtraBertConfig, ExtraBertForSimilarity
from extrabert_hf.cli.evaluate import main as evaluate
from extrabert_hf.errors import InputError
from extrabert_hf.inference import int8
from extrabert_hf.inference.int8 import Int8Linear, quantize_encoder, saturates
from extrabert_hf.inference.predictor import Predictor
from tests.models.test_unpadding_extrabert import ENCODERS

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")

FIRST, SECOND = ["A dog runs .", "Rain", "A cat sleeps on the mat ."], ["Two dogs run", "Snow", "The museum"]


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("input_bits", [8, 7])
@pytest.mark.parametrize("shift", [0.0, 4.0, -4.0])
def test_a_layer_is_close_to_its_float32_form(shift, input_bits, has_bias):
    linear = nn.Linear(96, 40, bias=has_bias)
    inputs = torch.randn(2, 17, 96) + shift
    quantized = Int8Linear(linear, input_bits)
    step = (inputs.amax(-1, keepdim=True) - inputs.amin(-1, keepdim=True)) / (2**input_bits - 1)
    # half a step of an input times the weights, and half a step of a weight times the inputs
    bound = step / 2 * linear.weight.abs().sum(1) + quantized.scale / 2 * inputs.abs().sum(-1, keepdim=True)
    assert ((quantized(inputs) - linear(inputs)).abs() <= bound + 1e-4).all()
    assert (quantized(inputs) - linear(inputs)).std() < 0.05 * linear(inputs).std()
    torch.testing.assert_close(quantized.weight, linear.weight, rtol=0, atol=quantized.scale.max().item())


def test_a_vector_with_large_values_leaves_the_others_as_they_are():
    quantized, inputs = Int8Linear(nn.Linear(96, 40)), torch.randn(2, 17, 96)
    alone = quantized(inputs)
    torch.testing.assert_close(quantized(inputs[1:, 3:5]), alone[1:, 3:5], rtol=0, atol=0)
    inputs[0, 0] *= 1000
    torch.testing.assert_close(quantized(inputs)[1], alone[1], rtol=0, atol=0)


def test_autocast_does_not_change_it():
    quantized, inputs = Int8Linear(nn.Linear(96, 40)), torch.randn(17, 96)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = quantized(inputs)
    torch.testing.assert_close(under_autocast, quantized(inputs), rtol=0, atol=0)


def test_the_output_has_the_type_of_the_input_and_zeros_stay_zeros():
    quantized = Int8Linear(nn.Linear(8, 4, bias=False))
    assert quantized(torch.randn(3, 8).bfloat16()).dtype == torch.bfloat16
    assert not quantized(torch.zeros(3, 8)).any()
    empty = nn.Linear(8, 4)
    nn.init.zeros_(empty.weight)
    torch.testing.assert_close(Int8Linear(empty)(torch.randn(3, 8)), empty.bias.expand(3, 4))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_predicts_nearly_the_same(name, random_batch):
    config = ENCODERS[name] if isinstance(ENCODERS[name], dict) else ENCODERS[name].to_dict()
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=config, pooling="mean")).eval()
    batch = random_batch(5)
    with torch.inference_mode():
        exact = model.embed(batch["input_ids"], batch["attention_mask"])
        quantize_encoder(model)
        close = model.embed(batch["input_ids"], batch["attention_mask"])
    kinds = {type(module) for module in model.backbone.modules()}
    assert Int8Linear in kinds and nn.Linear not in kinds
    assert not any(isinstance(module, Int8Linear) for module in model.head.modules())
    assert 0 < (close - exact).norm() / exact.norm() < 0.05


def test_sums_that_saturate_take_inputs_of_7_bits(tiny_bert, monkeypatch):
    assert saturates() in (True, False)
    monkeypatch.setattr(int8, "saturates", lambda: True)
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert))
    quantize_encoder(model)
    assert {module.levels for module in model.modules() if isinstance(module, Int8Linear)} == {127}


def test_a_model_that_is_not_on_the_cpu_is_refused(tiny_bert):
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)).to("meta")
    with pytest.raises(InputError, match="`int8` needs a model on the CPU, got one on meta: use --bf16 there"):
        quantize_encoder(model)


def test_a_predictor_and_evaluate_take_it(run_of, capsys):
    run = str(run_of("sts"))
    exact = Predictor.load(run).logits(FIRST, SECOND)
    predictor = Predictor.load(f"{run},{run}", int8=True)
    for member in predictor.members:
        assert any(isinstance(module, Int8Linear) for module in member.model.modules())
    close = predictor.logits(FIRST, SECOND)
    assert 0 < np.abs(close - exact).max() < 0.1
    capsys.readouterr()
    for flag in ([], ["--int8"]):
        evaluate([run, "--data", "sample", *flag])
    plain, quantized = (line for line in capsys.readouterr().out.splitlines() if "pearson" in line)
    assert plain.split()[0] == quantized.split()[0] == "pearson"

import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertConfig, ExtraBertForSimilarity
from extrabert_hf.cli.evaluate import main as evaluate
from extrabert_hf.cli.predict import main as predict
from extrabert_hf.errors import InputError
from extrabert_hf.inference import int8
from extrabert_hf.inference.int8 import Int8Linear, quantize_encoder, saturates
from extrabert_hf.inference.prediction_file import _checksum
from extrabert_hf.inference.predictor import Predictor, predict_logits
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


IN_A_NEW_PROCESS = """
import torch
from torch import nn
from extrabert_hf.inference.int8 import Int8Linear, saturates
linear = nn.Linear(64, 1, bias=False)
nn.init.ones_(linear.weight)
inputs = torch.arange(64.0)[None].clamp(0, 1)
print(saturates(), *((Int8Linear(linear, bits)(inputs) - 63).abs().item() < 1 for bits in (8, 7)))
"""


@pytest.mark.launch
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors do not saturate")
def test_without_vnni_8_bits_saturate_and_7_bits_do_not():
    printed = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"},  # oneDNN reads it once
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.split() == ["True", "False", "True"]


def test_on_this_processor_the_chosen_bits_do_not_saturate():
    linear = nn.Linear(64, 1, bias=False)
    nn.init.ones_(linear.weight)
    inputs = torch.arange(64.0)[None].clamp(0, 1)
    assert Int8Linear(linear, 7 if saturates() else 8)(inputs).item() == pytest.approx(63, abs=0.1)


def test_every_shape_of_nn_linear_is_taken_and_nan_stays_in_its_vector():
    linear, inputs = nn.Linear(6, 4), torch.randn(5, 6)
    quantized = Int8Linear(linear)
    for shape in ((6,), (0, 6), (2, 0, 6), (1, 5, 6)):
        assert quantized(torch.zeros(shape)).shape == linear(torch.zeros(shape)).shape
    torch.testing.assert_close(quantized(inputs.t().contiguous().t()), quantized(inputs), rtol=0, atol=0)
    expected = quantized(inputs)
    inputs[2, 3] = torch.nan
    outputs = quantized(inputs)
    assert outputs[2].isnan().all()
    torch.testing.assert_close(outputs[[0, 1, 3, 4]], expected[[0, 1, 3, 4]], rtol=0, atol=0)


def test_sums_that_saturate_take_inputs_of_7_bits(tiny_bert, monkeypatch):
    monkeypatch.setattr(int8, "saturates", lambda: True)
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert))
    quantize_encoder(model)
    assert {module.levels.item() for module in model.modules() if isinstance(module, Int8Linear)} == {127}


def test_a_model_that_is_not_on_the_cpu_is_refused(tiny_bert):
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)).to("meta")
    with pytest.raises(InputError, match="`int8` needs a model on the CPU, got one on meta: predict without it there"):
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


def test_a_task_of_a_multitask_model_and_a_cross_encoder_take_it(run_of, tiny_encoder):
    run = str(run_of("multitask"))
    exact, close = (Predictor.load(run, "sts", int8=flag).logits(FIRST, SECOND) for flag in (False, True))
    assert 0 < np.abs(close - exact).max() < 0.1
    model = ExtraBertForSimilarity.from_backbone(tiny_encoder, pair_encoding="cross_encoder")
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    exact = predict_logits(model, tokenizer, FIRST, SECOND)
    quantize_encoder(model)
    assert 0 < np.abs(predict_logits(model, tokenizer, FIRST, SECOND) - exact).max() < 0.1


def test_predict_takes_it_and_does_not_continue_parts_of_another_precision(run_of, tmp_path, tiny_bert, monkeypatch):
    (tmp_path / "pairs.csv").write_text(
        "sentence1,sentence2\n" + "\n".join(map(",".join, zip(FIRST, SECOND, strict=True)))
    )
    scores = []
    for flags in ([], ["--int8"]):
        predict([str(run_of("sts")), str(tmp_path / "pairs.csv"), "--output", str(tmp_path / "out.csv"), *flags])
        shutil.rmtree(tmp_path / "sts")
        scores.append(np.loadtxt(tmp_path / "out.csv", delimiter=",", skiprows=1, usecols=-1))
    assert 0 < np.abs(scores[1] - scores[0]).max() < 0.1
    checksums = set()
    for saturating in (None, False, True):
        torch.manual_seed(0)
        model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert))
        if saturating is not None:
            monkeypatch.setattr(int8, "saturates", lambda saturating=saturating: saturating)
            quantize_encoder(model)
        checksums.add(_checksum(model))
    assert len(checksums) == 3

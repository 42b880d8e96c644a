"""An exported ONNX file in OpenVINO, as docs/share.md shows."""

import re
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertForSimilarity, Predictor
from extrabert_hf.sharing.onnx_export import export_onnx
from tests.sharing.test_onnx_export import shaken_model

pytest.importorskip("openvino", reason="needs the extra `openvino`")
PAGE = (Path(__file__).parents[2] / "docs" / "share.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_openvino_computes_the_logits_of_the_model(tiny_encoder, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "sts"
    model, tokenizer = shaken_model(ExtraBertForSimilarity, tiny_encoder), AutoTokenizer.from_pretrained(tiny_encoder)
    model.save_pretrained(folder), tokenizer.save_pretrained(folder)
    (folder / "export" / "onnx").mkdir(parents=True)
    export_onnx(model, tokenizer, folder / "export" / "onnx")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```py\n(import openvino.*?)```", PAGE, re.DOTALL)[1]
    names = {}
    exec(code, names)
    expected = Predictor.load("runs/sts").logits(["A man is playing a guitar."], ["Someone plays the guitar."])
    assert np.abs(names["logits"] - expected).max() < 1e-5

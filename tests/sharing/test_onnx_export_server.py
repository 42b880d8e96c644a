"""The server of an exported ONNX file that docs/share.md shows."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertForSentiment, Predictor
from extrabert_hf.sharing.onnx_export import export_onnx
from tests.sharing.test_onnx_export import shaken_model

httpx = pytest.importorskip("httpx", reason="needs the extra `demo`")
pytest.importorskip("uvicorn", reason="needs the extra `demo`")
pytest.importorskip("onnxruntime", reason="needs the extra `export`")
PAGE = (Path(__file__).parents[2] / "docs" / "share.md").read_text(encoding="utf-8")
SENTENCES = ["A warm, funny, engaging film.", "It never gets off the ground, and then it ends."]


@pytest.fixture
def folder(tiny_encoder, tmp_path):
    """A folder with `server.py` of the page, and with the exported model that it names."""
    run = tmp_path / "runs" / "sst"
    model, tokenizer = shaken_model(ExtraBertForSentiment, tiny_encoder), AutoTokenizer.from_pretrained(tiny_encoder)
    model.save_pretrained(run), tokenizer.save_pretrained(run)
    (run / "export" / "onnx").mkdir(parents=True)
    export_onnx(model, tokenizer, run / "export" / "onnx")
    (code,) = re.findall(r"```py\n(import json\n.*?FastAPI.*?)```", PAGE, re.DOTALL)
    (tmp_path / "server.py").write_text(code, encoding="utf-8")
    return tmp_path


@pytest.fixture
def client(folder):
    """A client of the server, which runs in its own process at a free port."""
    command = [sys.executable, "-m", "uvicorn", "server:app", "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"running on (http://[\d.:]+)", (folder / "log").read_text())):
            assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.1)
        with httpx.Client(base_url=found[1], trust_env=False) as client:
            yield client
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.mark.slow
def test_the_server_of_the_page_gives_the_probabilities_of_the_model(client, folder):
    predictor = Predictor.load(str(folder / "runs" / "sst"))
    logits = predictor.logits(SENTENCES)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = client.post("/predict", json=SENTENCES).raise_for_status().json()
    assert [list(row) for row in rows] == [list(predictor.task.class_names)] * 2
    np.testing.assert_allclose([list(row.values()) for row in rows], expected, atol=1e-5)
    assert client.post("/predict", json=[]).status_code == 422
    assert client.post("/predict", json={"text": "a"}).status_code == 422

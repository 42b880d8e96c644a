"""What becomes of each `model_type` of transformers as an encoder: it trains, or is refused in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import limit_length, tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.encoder_checks import check_config
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.tasks import PAPER_TASKS
from tests.pretrained.tiny_models import WORDS, tiny_model, tiny_tokenizer

OUTCOMES = json.loads((Path(__file__).parent / "model_types.json").read_text())
"""Outcome by model type, see [`outcome`]."""
REPRESENTATIVE = (
    *("bert", "roberta", "mpnet", "longformer", "xlnet", "fnet", "gpt2", "falcon_h1"),
    *("t5", "vit", "clip", "lxmert", "reformer", "funnel"),
)
LENGTHS = (3, 200, 1, 7, 12, 5, 3, 30)
SENTENCES = [" ".join((WORDS * 4)[start : start + length]) for start, length in enumerate(LENGTHS)]
REASONS = {
    "an encoder and a decoder": "encoder and decoder",
    "must be a text encoder, got": "other input",
    "that `AutoModel` loads": "no class",
    "one `hidden_size`": "no hidden size",
    "missing 1 required": "other input",
    "missing 2 required": "other input",
    "have to specify": "other input",
    "must specify": "other input",
    "cannot be `None`": "other input",
    "has to be not-None": "other input",
    "no attribute 'last_hidden_state'": "no token states",
    "of token ids alone": "forward fails",
    "one state for each token": "other states",
    "finite states": "states not finite",
    "random in evaluation mode": "random states",
    "embeddings": "embeddings",
}
"""Part of an error's message -> the reason in the table."""


def outcome(model_type, folder):
    """Returns "trains", "trains by length", "refused: REASON" or "cannot be built tiny"."""
    try:
        try:
            config = CONFIG_MAPPING[model_type]()
        except Exception:  # the defaults of some configs are not valid
            return "cannot be built tiny"
        check_config(config, "PATH")
        try:
            encoder = tiny_model(model_type)
        except Exception:  # small sizes that do not fit together
            return "cannot be built tiny"
        if encoder is None:
            return "cannot be built tiny"
        encoder.save_pretrained(folder / "encoder")
        tiny_tokenizer().save_pretrained(folder / "encoder")
        del encoder
        model, tokenizer = build_model(str(folder / "encoder"), PAPER_TASKS["sst"], pooling="mean")
        limit_length(tokenizer, model, None)
    except InputError as error:
        assert "\n" not in str(error)
        reasons = [reason for part, reason in REASONS.items() if part in str(error)]
        assert reasons, error
        return f"refused: {reasons[0]}"
    train_one_step(model, tokenizer)
    scores = predict_logits(model, tokenizer, SENTENCES, batch_size=64)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(predict_logits(model, tokenizer, SENTENCES, batch_size=1), scores, atol=2e-5)
    model.save_pretrained(folder / "saved")
    tokenizer.save_pretrained(folder / "saved")
    saved = load_model(str(folder / "saved"))
    np.testing.assert_allclose(predict_logits(saved.model, saved.tokenizer, SENTENCES), scores, atol=2e-5)
    return "trains by length" if model.config.encode_by_length else "trains"


def train_one_step(model, tokenizer):
    collate = DataCollatorForSentences(tokenizer.pad_token_id)
    ids = tokenize_sentences(tokenizer, SENTENCES)
    batch = collate([{"input_ids": row, "labels": index % 5} for index, row in enumerate(ids)])
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in model.backbone.parameters()]
    model(**batch).loss.backward()
    optimizer.step()
    model.eval()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.backbone.parameters(), strict=True))


@pytest.mark.parametrize("model_type", REPRESENTATIVE)
def test_a_model_type_trains_or_is_refused_as_before(model_type, tmp_path):
    assert outcome(model_type, tmp_path) == OUTCOMES[model_type]


@pytest.mark.slow
def test_every_model_type_of_transformers_trains_or_is_refused_as_before(tmp_path):
    found = {}
    for model_type in MODEL_MAPPING_NAMES:
        torch.manual_seed(0)
        folder = tmp_path / model_type
        try:
            found[model_type] = outcome(model_type, folder)
        except Exception as error:  # seen in the comparison, with the types of all other outcomes
            found[model_type] = f"fails: {type(error).__name__}: {error}"
        shutil.rmtree(folder, ignore_errors=True)
    assert found == {model_type: OUTCOMES.get(model_type, "not in the table") for model_type in found}

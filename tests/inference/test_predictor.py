import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertForParaphrase, ExtraBertForSentiment, ExtraBertForSimilarity
from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.inference.predictor import predict_logits

SENTENCES = [
    "A dog runs .",
    "Two dogs run in the park with a ball .",
    "A dog runs .",
    "Rain",
    "The museum is closed today .",
]
PAIRED = [
    "A dog runs .",
    "A dog runs .",
    "Snow falls on the quiet town .",
    "Rain",
    "Two dogs run in the park with a ball .",
]


@pytest.fixture
def tokenizer(tiny_encoder):
    return AutoTokenizer.from_pretrained(tiny_encoder)


@pytest.mark.parametrize("model_class", [ExtraBertForSentiment, ExtraBertForParaphrase, ExtraBertForSimilarity])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_logits_are_those_of_the_model_row_by_row(model_class, batch_size, tiny_encoder, tokenizer):
    model = model_class.from_backbone(tiny_encoder).eval()
    second = PAIRED if model.head.sentences_per_row == 2 else None
    logits = predict_logits(model, tokenizer, SENTENCES, second, batch_size=batch_size)
    first_ids, second_ids = tokenize_sentences(tokenizer, SENTENCES), tokenize_sentences(tokenizer, PAIRED)
    for row, (a, b) in enumerate(zip(first_ids, second_ids, strict=True)):
        batch = DataCollatorForSentences(0)([{"input_ids": a if second is None else [a, b]}])
        expected = model(**batch).logits[0].detach().numpy()
        np.testing.assert_allclose(logits[row], expected, atol=1e-5)


def test_each_distinct_sentence_is_encoded_once_longest_first(tiny_encoder, tokenizer):
    model = ExtraBertForSimilarity.from_backbone(tiny_encoder)
    model.unpad = False  # a row a sentence
    masks = []
    model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: masks.append(kwargs["attention_mask"].sum(1)), with_kwargs=True
    )
    predict_logits(model, tokenizer, SENTENCES, PAIRED, batch_size=2)
    lengths = torch.cat(masks).tolist()
    assert len(lengths) == len({*SENTENCES, *PAIRED})
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("model_class", [ExtraBertForParaphrase, ExtraBertForSimilarity])
def test_each_distinct_pair_is_encoded_once_by_a_cross_encoder(model_class, tiny_encoder, tokenizer):
    model = model_class.from_backbone(tiny_encoder, pair_encoding="cross_encoder").eval()
    model.unpad = False
    sizes = []
    model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    logits = predict_logits(model, tokenizer, [*SENTENCES, "Rain"], [*PAIRED, "Rain"], batch_size=2)
    assert sum(sizes) == len(SENTENCES)
    np.testing.assert_array_equal(logits[3], logits[5])
    pairs = zip(tokenize_sentences(tokenizer, SENTENCES), tokenize_sentences(tokenizer, PAIRED), strict=True)
    batch = DataCollatorForSentences(0)([{"input_ids": list(pair)} for pair in pairs])
    np.testing.assert_allclose(logits[:5], model(**batch).logits.detach().numpy(), atol=1e-5)


def test_the_models_mode_is_left_as_it_was(tiny_encoder, tokenizer):
    model = ExtraBertForSentiment.from_backbone(tiny_encoder, head_dropout=0.5).train()
    twice = [predict_logits(model, tokenizer, SENTENCES) for _ in range(2)]
    assert model.training
    np.testing.assert_array_equal(*twice)

import pytest
import torch

from extrabert_hf.errors import InputError
from extrabert_hf.inference.explanation import explain
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.tasks import PAPER_TASKS

PAIR = ["A warm film .", "a man plays a guitar in the street ."]


@pytest.fixture
def made(tiny_encoder):
    def make(task, **fields):
        model, tokenizer = build_model(tiny_encoder, PAPER_TASKS[task], **fields)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
        return TrainedModel(model.eval(), tokenizer, PAPER_TASKS[task])

    return make


def logits_of(trained):
    batch = trained.tokenizer(PAIR, padding=True, return_tensors="pt")
    pair = {name: batch[name].unsqueeze(0) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return trained.model(**pair).logits[0]


@pytest.mark.parametrize("features", [["u", "v", "cosine"], ["sum_squared", "absolute_difference", "product"]])
def test_the_parts_sum_to_the_logit_of_one_class_over_the_other(features, made):
    trained = made("para", pair_features=features)
    explanation = explain(trained, PAIR)
    logits = logits_of(trained)
    assert list(explanation.parts) == [*features, "bias"]
    assert sum(explanation.parts.values()) == pytest.approx((logits[1] - logits[0]).item(), abs=1e-4)
    name = PAPER_TASKS["para"].class_names[logits.argmax()]
    assert explanation.prediction == f"{name}, {100 * logits.softmax(-1).max():.1f} %"
    assert list(explanation.probabilities) == list(PAPER_TASKS["para"].class_names)
    assert list(explanation.probabilities.values()) == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)


def test_the_parts_of_a_linear_score_sum_to_it(made):
    trained = made("sts", similarity="linear")
    explanation = explain(trained, PAIR)
    score = logits_of(trained).item()
    assert sum(explanation.parts.values()) == pytest.approx(score, abs=1e-4)
    assert explanation.prediction == f"{score:.2f} of 0 to 5"


def test_a_cosine_has_no_parts_and_weights_are_those_of_the_pooling(made):
    explanation = explain(made("sts"), PAIR)
    assert explanation.parts == {}
    assert [tokens[0] for tokens in explanation.tokens] == ["[CLS]", "[CLS]"]
    assert [len(tokens) for tokens in explanation.tokens] == [6, 11] == [len(row) for row in explanation.weights]
    assert all(sum(row) == pytest.approx(1) for row in explanation.weights)
    assert max(explanation.weights[1]) > min(explanation.weights[1])


def test_the_encoders_own_pooler_has_no_weights(made):
    explanation = explain(made("sst", pooling="pooler"), PAIR[:1])
    assert explanation.weights is None and explanation.tokens[0][-1] == "[SEP]" and explanation.parts == {}


@pytest.mark.parametrize(("task", "sentences", "due"), [("sst", PAIR, 1), ("para", PAIR[:1], 2)])
def test_the_number_of_sentences_is_checked(task, sentences, due, made):
    with pytest.raises(InputError, match=f"`sentences` must be {due} for the task '{task}', got {len(sentences)}"):
        explain(made(task), sentences)

import pytest
import torch

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask, ExtraBertForParaphrase, ExtraBertForSimilarity
from extrabert_hf.models.encoder_inputs_extrabert import CrossEncoderInputs
from tests.conftest import TINY_BACKBONES

CLS, SEP = 2, 3
FIRST, SECOND = [CLS, 11, 12, 13, SEP], [CLS, 21, SEP]
JOINED, TYPES = [CLS, 11, 12, 13, SEP, 21, SEP], [0, 0, 0, 0, 0, 1, 1]


def pair_of(first, second, *, left=False):
    width = max(len(first), len(second)) + 1
    rows = [[0] * (width - len(ids)) + ids if left else ids + [0] * (width - len(ids)) for ids in (first, second)]
    ids = torch.tensor([rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def batch_of(*pairs):
    width = max(pair["input_ids"].shape[-1] for pair in pairs)
    return {
        name: torch.cat([torch.nn.functional.pad(p[name], (0, width - p[name].shape[-1])) for p in pairs])
        for name in ("input_ids", "attention_mask")
    }


def cross_encoder(model_class, backbone, **fields):
    model = model_class(ExtraBertConfig(backbone_config=backbone, pair_encoding="cross_encoder", **fields))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize("left", [False, True])
def test_a_pair_becomes_one_sequence_wherever_its_padding_stands(left):
    joined = CrossEncoderInputs.of(*pair_of(FIRST, SECOND, left=left).values())
    assert joined.input_ids.tolist() == [JOINED]
    assert joined.token_type_ids.tolist() == [TYPES]
    assert joined.attention_mask.tolist() == [[1] * 7]


@pytest.mark.parametrize("unpad", [True, False])
@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "dot", "multiplicative"])
def test_logits_are_those_of_the_encoder_reading_both_sentences_as_one_text(tiny_bert, pooling, unpad):
    model = cross_encoder(ExtraBertForParaphrase, tiny_bert, pooling=pooling)
    model.unpad = unpad
    ids = torch.tensor([JOINED])
    encoded = model.backbone(input_ids=ids, token_type_ids=torch.tensor([TYPES]))
    vectors = encoded.pooler_output
    if pooling != "pooler":
        vectors, _ = model.pooling(encoded.last_hidden_state, torch.ones_like(ids))
    batch = batch_of(pair_of(FIRST, SECOND), pair_of(SECOND * 2, FIRST))
    torch.testing.assert_close(model(**batch).logits[:1], model.head(vectors), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", TINY_BACKBONES)
def test_every_encoder_reads_a_pair_as_one_text_and_each_row_alone(kind):
    model = cross_encoder(ExtraBertForSimilarity, TINY_BACKBONES[kind].to_dict())
    pairs = [pair_of(FIRST, SECOND), pair_of(SECOND, FIRST * 2)]
    together = model(**batch_of(*pairs)).logits
    for row, pair in zip(together, pairs, strict=True):
        torch.testing.assert_close(model(**pair).logits[0], row, atol=1e-5, rtol=1e-4)
    changed = pair_of(FIRST, [CLS, 22, SEP])
    assert (model(**changed).logits - together[0]).abs() > 1e-4


def test_weights_come_back_by_sentence_and_sum_to_one_over_both(tiny_bert):
    model = cross_encoder(ExtraBertForParaphrase, tiny_bert)
    batch = batch_of(pair_of(FIRST, SECOND), pair_of(SECOND, FIRST))
    output = model(**batch, output_pooling_weights=True, output_embeddings=True)
    assert output.embeddings.shape == (2, 16)
    assert output.pooling_weights.shape == batch["input_ids"].shape
    torch.testing.assert_close(output.pooling_weights.sum(dim=(1, 2)), torch.ones(2))
    assert output.pooling_weights[0, 1, 0] == 0  # the second [CLS] is left out
    assert (output.pooling_weights[0, 1, 1:3] > 0).all()


def test_a_bounded_score_of_a_cross_encoder_is_inside_its_range(tiny_bert):
    model = cross_encoder(ExtraBertForSimilarity, tiny_bert, similarity_bounds="scale", score_range=[1.0, 3.0])
    with torch.no_grad():
        model.head.classifier.weight.mul_(1000)
    logits = model(**batch_of(pair_of(FIRST, SECOND), pair_of(SECOND, FIRST))).logits
    assert ((logits >= 1) & (logits <= 3)).all()


@pytest.mark.parametrize("adapter", [False, True])
def test_a_model_of_several_tasks_has_cross_encoders_and_bi_encoders(tiny_bert, random_batch, adapter):
    lora = {"adapter": {"r": 2, "lora_alpha": 4, "target_modules": ["query"]}} if adapter else {}
    tasks = {
        "sst": {"head": "sentiment", **lora},
        "para": {"head": "paraphrase", "pair_encoding": "cross_encoder", **lora},
        "sts": {"head": "similarity", "pair_encoding": "bi_encoder", **lora},
    }
    model = cross_encoder(ExtraBertForMultiTask, tiny_bert, tasks=tasks)
    batch = random_batch(4)
    mixed = model(task=["para", "sts", "sst", "para"], **batch).logits
    for task, rows in {"para": [0, 3], "sts": [1], "sst": [2]}.items():
        task_batch = {name: tensor[rows] if task != "sst" else tensor[rows][:, 0] for name, tensor in batch.items()}
        expected = model(task=task, **task_batch).logits
        torch.testing.assert_close(mixed[rows, : expected.shape[1]], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.extract(task)(**task_batch).logits, expected, atol=1e-5, rtol=1e-4)
    assert model(task=["para"], **{name: tensor[:1] for name, tensor in batch.items()}).logits.shape == (1, 2)

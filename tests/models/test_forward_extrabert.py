import copy

import pytest
import torch
from transformers import AutoModel, BertConfig, BertForMaskedLM

from extrabert_hf import (
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
)
from tests.conftest import TINY_BACKBONES

FORMS = {
    "sentence": (ExtraBertForSentiment, {}, False, (4,), 7),
    "bi_encoder": (ExtraBertForSimilarity, {}, True, (4, 2), 7),
    "cross_encoder": (ExtraBertForParaphrase, {"pair_encoding": "cross_encoder"}, True, (4,), 13),
    "multitask": (ExtraBertForMultiTask, {}, True, (4, 2), 7),
}


@pytest.fixture(params=FORMS)
def form(request, tiny_bert, random_batch):
    model_class, fields, pair, rows, seq = FORMS[request.param]
    model = model_class(ExtraBertConfig(backbone_config=tiny_bert, **fields)).eval()
    batch = random_batch(4, pair=pair) | ({"task": "sts"} if request.param == "multitask" else {})
    return model, batch, rows, seq


def test_hidden_states_and_attentions_come_by_row_on_request(form):
    model, batch, rows, seq = form
    assert model.why_padded() is None
    output = model(**batch, output_hidden_states=True, output_attentions=True)
    assert [state.shape for state in output.hidden_states] == 3 * [(*rows, seq, 16)]
    assert [weights.shape for weights in output.attentions] == 2 * [(*rows, 2, seq, seq)]
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones(*rows, 2, seq))
    plain = model(**batch)
    torch.testing.assert_close(output.logits, plain.logits)
    assert plain.hidden_states is None and plain.attentions is None


def test_attentions_are_those_of_eager_attention(form):
    model, batch, *_ = form
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    assert eager.backbone.config._attn_implementation == "eager"
    ours, theirs = (m(**batch, output_attentions=True).attentions for m in (model, eager))
    torch.testing.assert_close(ours, theirs)


def test_requests_in_the_config_hold(form):
    model, batch, *_ = form
    model.config.output_hidden_states = True
    assert len(model(**batch).hidden_states) == 3
    assert model(**batch, output_hidden_states=False).hidden_states is None
    model.config.return_dict = False
    assert isinstance(model(**batch), tuple)
    assert model(**batch, return_dict=True).logits.shape[0] == 4


def test_a_tuple_has_what_the_output_has(form):
    model, batch, *_ = form
    values = model(**batch, output_embeddings=True, return_dict=False)
    output = model(**batch, output_embeddings=True)
    assert isinstance(values, tuple)
    torch.testing.assert_close(values, output.to_tuple())


def test_embeddings_of_tokens_are_taken_instead_of_ids(form):
    model, batch, *_ = form
    ids = batch.pop("input_ids")
    expected = model(ids, **batch).logits
    torch.testing.assert_close(model(**batch, inputs_embeds=model.get_input_embeddings()(ids)).logits, expected)
    with pytest.raises(ValueError, match="one of `input_ids` and `inputs_embeds` must be passed, got none"):
        model(**batch)
    with pytest.raises(ValueError, match="must be passed, got both"):
        model(ids, **batch, inputs_embeds=model.get_input_embeddings()(ids))


def test_token_types_are_used_with_and_without_padding(tiny_bert, random_batch):
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)).eval()
    batch = random_batch(3)
    types = torch.ones_like(batch["input_ids"])
    with_types = model(**batch, token_type_ids=types).logits
    assert not torch.allclose(with_types, model(**batch).logits, atol=1e-6)
    torch.testing.assert_close(model(**batch, token_type_ids=0 * types).logits, model(**batch).logits)
    model.unpad = False
    torch.testing.assert_close(model(**batch, token_type_ids=types).logits, with_types)


@pytest.mark.parametrize("backbone", ["roberta", "distilbert", "modernbert"])
def test_encoders_without_segments_ignore_token_types(backbone, random_batch):
    config = ExtraBertConfig(backbone_config=TINY_BACKBONES[backbone].to_dict(), pooling="mean")
    model, batch = ExtraBertForSentiment(config).eval(), random_batch(3, pair=False)
    types = torch.zeros_like(batch["input_ids"])
    torch.testing.assert_close(model(**batch, token_type_ids=types).logits, model(**batch).logits)


def test_rows_of_several_tasks_return_a_tuple_and_refuse_states(tiny_bert, random_batch):
    model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert)).eval()
    batch = random_batch(2)
    (logits,) = model(**batch, task=["sts", "sst"], return_dict=False)
    torch.testing.assert_close(logits, model(**batch, task=["sts", "sst"]).logits)
    with pytest.raises(ValueError, match=r"`task` must be a single task to compute .*hidden states"):
        model(**batch, task=["sts", "sst"], output_hidden_states=True)


@pytest.mark.parametrize("model_class", [ExtraBertForSentiment, ExtraBertForMultiTask])
def test_a_resized_vocabulary_is_saved(model_class, tiny_bert, tmp_path):
    model = model_class(ExtraBertConfig(backbone_config=tiny_bert))
    model.resize_token_embeddings(120)
    assert model.config.get_text_config().vocab_size == model.backbone.config.vocab_size == 120
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_an_encoder_of_tuples_is_held_with_dicts(tiny_bert, random_batch):
    model = ExtraBertForSentiment(ExtraBertConfig(backbone_config={**tiny_bert, "return_dict": False}))
    assert model(**random_batch(2, pair=False)).logits.shape == (2, 5)


@pytest.mark.parametrize("model_class", [ExtraBertForSimilarity, ExtraBertForMultiTask])
def test_a_plain_encoder_loads_and_the_missing_head_is_reported(model_class, tiny_bert, tmp_path, caplog):
    encoder = BertForMaskedLM(BertConfig(**tiny_bert))
    encoder.save_pretrained(tmp_path)
    model, report = model_class.from_pretrained(tmp_path, pooling="mean", output_loading_info=True)
    expected, loaded = encoder.bert.state_dict(), model.backbone.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())
    heads = {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    assert report["missing_keys"] == heads
    assert f"{model_class.__name__}.from_backbone" in caplog.text
    labels = {"num_labels": 3, "dtype": torch.bfloat16, "pooling": "mean"}
    sentiment = ExtraBertForSentiment.from_pretrained(tmp_path, **labels)
    assert (sentiment.head.classifier.out_features, sentiment.dtype) == (3, torch.bfloat16)


def test_the_config_of_an_encoder_is_refused_by_name(tiny_bert):
    with pytest.raises(ValueError, match="`config` must be an ExtraBertConfig, got a BertConfig"):
        ExtraBertForSentiment(BertConfig(**tiny_bert))


def test_a_config_without_a_class_is_refused_by_auto_model(tiny_bert):
    with pytest.raises(ValueError, match="the config must name its model class in `architectures`"):
        AutoModel.from_config(ExtraBertConfig(backbone_config=tiny_bert))
    tasks = {"mood": {"head": "sentiment"}}
    assert (
        type(AutoModel.from_config(ExtraBertConfig(backbone_config=tiny_bert, tasks=tasks))) is ExtraBertForMultiTask
    )

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, BertForMaskedLM, T5Config, T5Model

from extrabert_hf import (
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
)
from extrabert_hf.models.unpadding_extrabert import UNPADDED
from tests.conftest import TINY_BACKBONES

POOLINGS = ["pooler", "cls", "mean", "dot", "multiplicative"]
NO_POOLER = {"distilbert", "modernbert"}
ONE_WITH_POOLER = {"sst": {"head": "sentiment", "pooling": "pooler"}, "sts": {"head": "similarity"}}


def drawn(model):
    """Draws every weight anew, also those that start at 0 or 1."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_one_forward_of_the_encoder_serves_both_sentences(tiny_bert, random_batch):
    model = ExtraBertForParaphrase(ExtraBertConfig(backbone_config=tiny_bert))
    shapes = []
    model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    model(**random_batch(4))
    assert len(shapes) == 1
    model.unpad = False
    model(**random_batch(4))
    assert shapes[1:] == [(8, 7)]


def test_a_regression_target_never_broadcasts(tiny_bert, random_batch):
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)).eval()
    batch, labels = random_batch(4), torch.tensor([0.0, 1.0, 3.0, 5.0])
    output = model(**batch, labels=labels)
    mean_of_four = sum((logit - label) ** 2 for logit, label in zip(output.logits[:, 0], labels, strict=True)) / 4
    torch.testing.assert_close(output.loss, mean_of_four)
    with pytest.raises(ValueError, match=r"`labels` must be \(batch,\) = \(4,\), got \(4, 1\)"):
        model(**batch, labels=labels[:, None])


def test_integer_similarity_labels_are_numbers(tiny_bert, random_batch):
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)).eval()
    batch = random_batch(2)
    torch.testing.assert_close(
        model(**batch, labels=torch.tensor([1, 4])).loss, model(**batch, labels=torch.tensor([1.0, 4.0])).loss
    )


@pytest.mark.parametrize(
    ("model_class", "shape", "form"),
    [
        (ExtraBertForSimilarity, (4, 7), r"\(batch, 2, seq\)"),
        (ExtraBertForParaphrase, (4, 3, 7), r"\(batch, 2, seq\)"),
        (ExtraBertForSentiment, (4, 2, 7), r"\(batch, seq\)"),
    ],
)
def test_ids_of_the_wrong_shape_are_refused(model_class, shape, form, tiny_bert):
    with pytest.raises(ValueError, match=f"`input_ids` must be {form}"):
        model_class(ExtraBertConfig(backbone_config=tiny_bert))(input_ids=torch.ones(shape, dtype=torch.long))


@pytest.mark.parametrize(
    ("task", "shape", "message"),
    [
        ("sst", (4, 2, 7), r"must be \(batch, seq\) for a SentimentHead, got \(4, 2, 7\)"),
        ("para", (4, 7), r"must be \(batch, 2, seq\) for a ParaphraseHead, got \(4, 7\)"),
        ("sts", (4, 3, 7), r"must be \(batch, 2, seq\) for a CosineSimilarityHead, got \(4, 3, 7\)"),
    ],
)
def test_each_task_has_its_own_shape(task, shape, message, tiny_bert):
    model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert))
    with pytest.raises(ValueError, match=message):
        model(task=task, input_ids=torch.ones(shape, dtype=torch.long))


def test_the_trainer_gathers_nothing_but_logits(tiny_bert, random_batch):
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert))
    wanted = {f"output_{name}": True for name in model.config.keys_to_ignore_at_inference}
    output = model(**random_batch(2), labels=torch.ones(2), **wanted)
    assert set(output) == {"loss", "logits", *model.config.keys_to_ignore_at_inference}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_weights_come_on_request(pooling, tiny_bert, random_batch):
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert, pooling=pooling)).eval()
    batch = random_batch(3)
    assert set(model(**batch)) == {"logits"}
    weights = model(**batch, output_pooling_weights=True).pooling_weights
    if pooling == "pooler":
        assert weights is None
    else:
        assert weights.shape == (3, 2, 7)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2))
        assert (weights[batch["attention_mask"] == 0] == 0).all()


@pytest.mark.parametrize("backbone", sorted(NO_POOLER))
def test_an_encoder_without_a_pooler_says_so(backbone):
    config = ExtraBertConfig(backbone_config=TINY_BACKBONES[backbone].to_dict(), pooling="pooler")
    with pytest.raises(ValueError, match=r"`pooling` must be one of .* has no pooler"):
        ExtraBertForSimilarity(config)


def test_a_pooler_that_no_one_reads_is_left_out(tiny_bert):
    names = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)).state_dict()
    assert not [name for name in names if "pooler" in name]


@pytest.mark.parametrize("checkpoint_class", [AutoModel, BertForMaskedLM])
@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_from_backbone_takes_the_pretrained_weights_by_value(checkpoint_class, pooling, tmp_path, random_batch):
    if checkpoint_class is AutoModel:
        pretrained = drawn(AutoModel.from_config(TINY_BACKBONES["bert"]))
        encoder = pretrained
    else:
        pretrained = drawn(BertForMaskedLM(TINY_BACKBONES["bert"]))
        encoder = pretrained.bert
    pretrained.save_pretrained(tmp_path)
    model = ExtraBertForSentiment.from_backbone(str(tmp_path), pooling=pooling, class_names=["a", "b", "c"])
    weights = model.backbone.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in encoder.state_dict().items() if name in weights)
    assert len([name for name in weights if not name.startswith("pooler")]) >= 37
    assert model(**random_batch(2, pair=False)).logits.shape == (2, 3)


def test_from_backbone_in_bfloat16_casts_the_head_too(tmp_path, tiny_bert):
    AutoModel.from_config(TINY_BACKBONES["bert"]).save_pretrained(tmp_path)
    model = ExtraBertForSentiment.from_backbone(str(tmp_path), dtype="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_from_backbone_refuses_a_checkpoint_that_lacks_weights(tmp_path):
    encoder = AutoModel.from_config(TINY_BACKBONES["bert"])
    encoder.save_pretrained(tmp_path)
    kept = {name: value for name, value in encoder.state_dict().items() if "layer.1." not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="must hold every weight of its encoder"):
        ExtraBertForSentiment.from_backbone(str(tmp_path))


@pytest.mark.parametrize("implementation", [None, "eager"])
def test_from_backbone_attends_as_asked(tmp_path, implementation):
    AutoModel.from_config(TINY_BACKBONES["bert"]).save_pretrained(tmp_path)
    model = ExtraBertForSentiment.from_backbone(str(tmp_path), attn_implementation=implementation)
    used = {module.config._attn_implementation for module in model.backbone.modules() if hasattr(module, "config")}
    assert used == {implementation or UNPADDED}
    model.set_attn_implementation("sdpa")
    assert model.why_padded() == "not supported by the attention 'sdpa'"


def test_from_backbone_is_ready_to_answer(tmp_path, random_batch):
    AutoModel.from_config(TINY_BACKBONES["bert"]).save_pretrained(tmp_path)
    model = ExtraBertForSentiment.from_backbone(str(tmp_path), head_dropout=0.5)
    batch = random_batch(2, pair=False)
    assert torch.equal(model(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("backbone", TINY_BACKBONES)
def test_from_backbone_serves_every_task_on_one_encoder(backbone, tmp_path, random_batch):
    encoder = drawn(AutoModel.from_config(TINY_BACKBONES[backbone]))
    encoder.save_pretrained(tmp_path)
    tasks = {"sst": {"head": "sentiment"}, "sts": {"head": "similarity", "pooling": "dot"}}
    model = ExtraBertForMultiTask.from_backbone(str(tmp_path), pooling="mean", tasks=tasks)
    weights, pretrained = model.backbone.state_dict(), encoder.state_dict()
    assert {name for name in pretrained if not name.startswith("pooler.")} == weights.keys()
    assert all(torch.equal(weights[name], pretrained[name]) for name in weights)
    sentences = random_batch(3, pair=False)
    states = model.backbone(**sentences).last_hidden_state
    mask = sentences["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(model(task="sst", **sentences, output_embeddings=True).embeddings, mean)
    assert model(task="sts", **random_batch(3)).logits.shape == (3, 1)


@pytest.mark.parametrize("backbone", sorted(TINY_BACKBONES.keys() - NO_POOLER))
def test_one_task_may_take_the_pooler_of_the_encoder(backbone, tmp_path, random_batch):
    AutoModel.from_config(TINY_BACKBONES[backbone]).save_pretrained(tmp_path)
    model = ExtraBertForMultiTask.from_backbone(str(tmp_path), tasks=ONE_WITH_POOLER)
    sentences = random_batch(3, pair=False)
    output = model(task="sst", **sentences, output_embeddings=True)
    assert torch.equal(output.embeddings, model.backbone(**sentences).pooler_output)


@pytest.mark.parametrize("backbone", sorted(NO_POOLER))
def test_no_task_may_take_a_pooler_that_the_encoder_lacks(backbone, tmp_path):
    AutoModel.from_config(TINY_BACKBONES[backbone]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"for a {backbone} encoder, which has no pooler, got 'pooler'"):
        ExtraBertForMultiTask.from_backbone(str(tmp_path), tasks=ONE_WITH_POOLER)


def test_a_config_of_an_encoder_in_bfloat16_gives_a_model_of_one_type(tiny_bert, random_batch):
    model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert | {"dtype": "bfloat16"}))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model(**random_batch(2)).logits.dtype == torch.float32


@pytest.mark.parametrize("load", ["from_pretrained", "from_backbone"])
def test_an_encoder_with_a_decoder_is_refused(load, tmp_path):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    T5Model(T5Config(vocab_size=60, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must hold an encoder, got an encoder and a decoder of type 't5'"):
        getattr(ExtraBertForSentiment, load)(str(tmp_path))

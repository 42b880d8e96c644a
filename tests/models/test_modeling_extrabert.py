import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForSequenceClassification, BertForMaskedLM

from extrabert_hf import ExtraBertConfig, ExtraBertForParaphrase, ExtraBertForSentiment, ExtraBertForSimilarity
from tests.conftest import TINY_BACKBONES

MODELS = [ExtraBertForSentiment, ExtraBertForParaphrase, ExtraBertForSimilarity]
POOLINGS = ["pooler", "cls", "mean", "dot", "multiplicative"]


def shaken(model):
    """Moves every weight away from where a fresh model starts."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def batch_for(model, random_batch, rows=4):
    return random_batch(rows, pair=model.sentences_per_row == 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("backbone", TINY_BACKBONES)
@pytest.mark.parametrize("model_class", MODELS)
def test_saved_and_loaded_weights_are_equal_by_value(model_class, backbone, dtype, tmp_path, random_batch):
    config = ExtraBertConfig(backbone_config=TINY_BACKBONES[backbone].to_dict())
    model = shaken(model_class._from_config(config, dtype=dtype))
    model.save_pretrained(tmp_path)
    for auto_class in (AutoModel, AutoModelForSequenceClassification):
        junk = [torch.full((512, 512), float("nan")) for _ in range(8)]  # what uninitialised memory would show
        del junk
        loaded = auto_class.from_pretrained(tmp_path, dtype=dtype).eval()
        assert type(loaded) is model_class
        weights, loaded_weights = model.state_dict(), loaded.state_dict()
        assert weights.keys() == loaded_weights.keys()
        assert all(torch.equal(weights[name], loaded_weights[name]) for name in weights)
        batch = batch_for(model, random_batch)
        assert torch.equal(model(**batch).logits, loaded(**batch).logits)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("model_class", MODELS)
def test_padding_does_not_change_the_logits(model_class, pooling, tiny_bert, random_batch):
    model = shaken(model_class(ExtraBertConfig(backbone_config=tiny_bert, pooling=pooling)))
    batch = batch_for(model, random_batch)
    wider = {name: torch.nn.functional.pad(tensor, (0, 5)) for name, tensor in batch.items()}
    torch.testing.assert_close(model(**wider).logits, model(**batch).logits)


@pytest.mark.parametrize("backbone", TINY_BACKBONES)
@pytest.mark.parametrize("model_class", MODELS)
def test_every_parameter_gets_a_gradient(model_class, backbone, random_batch):
    config = ExtraBertConfig(backbone_config=TINY_BACKBONES[backbone].to_dict(), head_dropout=0.0)
    model = shaken(model_class(config))
    labels = (
        torch.tensor([0.0, 1.0, 0.0, 1.0]) if model_class is ExtraBertForSimilarity else torch.tensor([0, 1, 0, 1])
    )
    model(**batch_for(model, random_batch), labels=labels).loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


def test_a_pair_is_scored_like_its_two_sentences(tiny_bert, random_batch):
    model = shaken(ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)))
    batch = random_batch(3)
    u, _ = model.embed(batch["input_ids"][:, 0], batch["attention_mask"][:, 0])
    v, _ = model.embed(batch["input_ids"][:, 1], batch["attention_mask"][:, 1])
    output = model(**batch, output_embeddings=True)
    torch.testing.assert_close(output.embeddings, torch.stack([u, v], dim=1))
    torch.testing.assert_close(output.logits[:, 0], 5 * torch.cosine_similarity(u, v))


def test_one_forward_of_the_encoder_serves_both_sentences(tiny_bert, random_batch):
    model = ExtraBertForParaphrase(ExtraBertConfig(backbone_config=tiny_bert))
    shapes = []
    model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    model(**random_batch(4))
    assert shapes == [(8, 7)]


def test_a_regression_target_never_broadcasts(tiny_bert, random_batch):
    model = shaken(ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)))
    batch, labels = random_batch(4), torch.tensor([0.0, 1.0, 3.0, 5.0])
    output = model(**batch, labels=labels)
    mean_of_four = sum((logit - label) ** 2 for logit, label in zip(output.logits[:, 0], labels, strict=True)) / 4
    torch.testing.assert_close(output.loss, mean_of_four)
    with pytest.raises(ValueError, match=r"`labels` must be \(batch,\) = \(4,\), got \(4, 1\)"):
        model(**batch, labels=labels[:, None])


def test_integer_similarity_labels_are_numbers(tiny_bert, random_batch):
    model = shaken(ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)))
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


@pytest.mark.parametrize("backbone", ["distilbert", "modernbert"])
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
        pretrained = shaken(AutoModel.from_config(TINY_BACKBONES["bert"]))
        encoder = pretrained
    else:
        pretrained = shaken(BertForMaskedLM(TINY_BACKBONES["bert"]))
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


@pytest.mark.parametrize("implementation", [None, "eager", "sdpa"])
def test_from_backbone_attends_as_asked(tmp_path, implementation):
    AutoModel.from_config(TINY_BACKBONES["bert"]).save_pretrained(tmp_path)
    model = ExtraBertForSentiment.from_backbone(str(tmp_path), attn_implementation=implementation)
    used = {module.config._attn_implementation for module in model.backbone.modules() if hasattr(module, "config")}
    assert used == {implementation or "sdpa"}


def test_from_backbone_is_ready_to_answer(tmp_path, random_batch):
    AutoModel.from_config(TINY_BACKBONES["bert"]).save_pretrained(tmp_path)
    model = ExtraBertForSentiment.from_backbone(str(tmp_path), head_dropout=0.5)
    batch = random_batch(2, pair=False)
    assert torch.equal(model(**batch).logits, model(**batch).logits)


def test_one_config_serves_every_head(tiny_bert, tmp_path):
    config = ExtraBertConfig(backbone_config=tiny_bert)
    models = [model_class(config) for model_class in MODELS]
    for model in models:
        model.save_pretrained(tmp_path / type(model).__name__)
        loaded = AutoModel.from_pretrained(tmp_path / type(model).__name__)
        assert (type(loaded), loaded.config.id2label) == (type(model), model.config.id2label)
    assert config.class_names is None


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ("SFT", {"pooling": "pooler", "feed_forward_depth": 0, "pair_features": ["u", "v"], "similarity": "linear"}),
        ("SFT + CS", {"pooling": "pooler", "feed_forward_depth": 0, "pair_features": ["u", "v", "cosine"]}),
        ("SFT + DPA + CS", {"pooling": "dot"}),
        ("SFT + MA + CS", {}),
    ],
)
def test_each_row_of_table_1_is_only_a_config(row, fields, tiny_bert, random_batch):
    for model_class in MODELS:
        model = model_class(ExtraBertConfig(backbone_config=tiny_bert, **fields))
        assert model(**batch_for(model, random_batch)).logits.isfinite().all()


def test_labels_follow_the_class_unless_named(tiny_bert):
    assert ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert)).head.classifier.out_features == 5
    assert ExtraBertForParaphrase(ExtraBertConfig(backbone_config=tiny_bert)).config.id2label[1] == "paraphrase"
    named = ExtraBertConfig(backbone_config=tiny_bert, num_labels=3)
    assert ExtraBertForSentiment(named).head.classifier.out_features == 3


def test_activation_checkpointing_leaves_the_gradients(tiny_bert, random_batch):
    tiny_bert.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = shaken(ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert))).train()
    batch, labels = random_batch(2), torch.tensor([1.0, 4.0])
    model(**batch, labels=labels).loss.backward()
    plain = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    model.activation_checkpointing_enable()
    model(**batch, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name])

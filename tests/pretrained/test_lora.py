import json
from copy import deepcopy

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AutoModel, FunnelConfig

from extrabert_hf import (
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
)
from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.adapters import load_adapter
from extrabert_hf.pretrained.lora import merge_lora, save_adapter, with_lora
from tests.conftest import SIZES, TINY_BACKBONES

MODELS = [ExtraBertForSentiment, ExtraBertForParaphrase, ExtraBertForSimilarity, ExtraBertForMultiTask]
ONE_POOLER = {"sst": {"head": "sentiment", "pooling": "pooler"}, "sts": {"head": "similarity", "pooling": "mean"}}

every_model = pytest.mark.parametrize("model_class", MODELS)
every_encoder = pytest.mark.parametrize("backbone", ["bert", "distilbert", "modernbert"])
every_model_and_every_encoder = pytest.mark.parametrize(
    ("model_class", "backbone"), list(zip(MODELS, ["bert", "distilbert", "modernbert", "bert"], strict=True))
)
one_task_and_several = pytest.mark.parametrize("model_class", [ExtraBertForParaphrase, ExtraBertForMultiTask])


@pytest.fixture(scope="module")
def encoder_of(tmp_path_factory):
    """Saves a random encoder of a kind, and gives its folder."""
    folders = {}

    def folder_of(backbone):
        if backbone not in folders:
            folders[backbone] = str(tmp_path_factory.mktemp(backbone))
            torch.manual_seed(1)
            AutoModel.from_config(TINY_BACKBONES[backbone]).save_pretrained(folders[backbone])
        return folders[backbone]

    return folder_of


@pytest.fixture
def logits_of(random_batch):
    """Makes a function that gives a model's logits, of each task, for batches that stay the same."""
    batches = {1: random_batch(4, pair=False), 2: random_batch(4)}

    def logits(model):
        if "tasks" not in vars(model.config) or model.config.tasks is None:
            return model(**batches[model.head.sentences_per_row]).logits
        heads = dict(sorted(model.heads.items()))  # the order of a config.json
        return torch.cat([model(**batches[heads[t].sentences_per_row], task=t).logits for t in heads], dim=1)

    return logits


def trained(model):
    """Sets all that can be trained to random numbers: adapters, heads and poolings."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    return model.eval()


def adapted(model_class, folder, **config_fields):
    return trained(with_lora(model_class.from_backbone(folder, **config_fields), r=4, alpha=4))


def snapshot(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def plain_names(names):
    return {name.removeprefix("base_model.model.").replace(".modules_to_save.default", "") for name in names}


@every_model_and_every_encoder
def test_only_adapters_heads_and_poolings_are_trained(model_class, backbone, encoder_of):
    plain = model_class.from_backbone(encoder_of(backbone))
    outside = {name for name, _ in plain.named_parameters() if not name.startswith("backbone.")}
    linear = {
        f"backbone.{name}" for name, module in plain.backbone.named_modules() if isinstance(module, torch.nn.Linear)
    }
    model = with_lora(plain)
    names = plain_names(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    adapters = {name for name in names if ".lora_" in name}
    assert names - adapters == outside
    assert adapters == {f"{name}.lora_{part}.default.weight" for name in linear for part in "AB"}


@one_task_and_several
def test_a_new_adapter_changes_no_logit(model_class, encoder_of, logits_of):
    model = model_class.from_backbone(encoder_of("bert"))
    before = logits_of(model)
    assert torch.equal(logits_of(with_lora(model)), before)


@every_encoder
@every_model
def test_saved_loaded_and_merged_logits_are_equal_by_value(model_class, backbone, encoder_of, logits_of, tmp_path):
    model = adapted(model_class, encoder_of(backbone))
    save_adapter(model, tmp_path, encoder=encoder_of(backbone))
    torch.manual_seed(7)  # fresh heads of other numbers
    loaded = load_adapter(tmp_path)
    assert type(loaded) is model_class
    assert not loaded.training
    torch.testing.assert_close(logits_of(loaded), logits_of(model), rtol=0, atol=1e-5)
    merged = merge_lora(model)
    weights, loaded_weights = merged.state_dict(), loaded.state_dict()
    assert weights.keys() == loaded_weights.keys()
    assert all(torch.equal(weights[name], loaded_weights[name]) for name in weights)


@one_task_and_several
def test_peft_itself_loads_what_is_saved(model_class, encoder_of, logits_of, tmp_path):
    model = adapted(model_class, encoder_of("bert"))
    save_adapter(model, tmp_path, encoder="bert-tiny")
    torch.manual_seed(7)
    loaded = PeftModel.from_pretrained(model_class.from_backbone(encoder_of("bert")), tmp_path).eval()
    assert torch.equal(logits_of(loaded), logits_of(model))


@every_model_and_every_encoder
def test_a_training_step_moves_all_of_adapters_heads_and_poolings_and_nothing_else(
    model_class, backbone, encoder_of, logits_of
):
    model = adapted(model_class, encoder_of(backbone), head_dropout=0.0)
    before = snapshot(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    logits_of(model).square().sum().backward()
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@every_model_and_every_encoder
def test_a_merged_model_is_a_plain_one(model_class, backbone, encoder_of, logits_of, tmp_path):
    plain = model_class.from_backbone(encoder_of(backbone))
    model = adapted(model_class, encoder_of(backbone))
    merged = merge_lora(model)
    assert type(merged) is model_class
    assert vars(merged).keys() == vars(plain).keys()
    assert list(merged.state_dict()) == list(plain.state_dict())
    assert [type(module) for module in merged.modules()] == [type(module) for module in plain.modules()]
    assert all(parameter.requires_grad for parameter in merged.parameters())
    merged.save_pretrained(tmp_path)
    assert torch.equal(logits_of(AutoModel.from_pretrained(tmp_path).eval()), logits_of(merged))
    torch.testing.assert_close(logits_of(merged), logits_of(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", [True, False])
@one_task_and_several
def test_merging_leaves_the_trained_model_as_it_was(model_class, mode, encoder_of, logits_of):
    model = adapted(model_class, encoder_of("bert"))
    before, logits = snapshot(model), logits_of(model)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    merged = merge_lora(model.train(mode))
    assert {module.training for module in (*merged.modules(), *model.modules())} == {mode}
    with torch.no_grad():
        for parameter in merged.parameters():
            parameter.zero_()
    assert snapshot(model).keys() == before.keys()
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert trainable == [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert torch.equal(logits_of(model.eval()), logits)


@pytest.mark.parametrize("mode", [True, False])
def test_an_adapted_model_is_in_the_mode_it_was_in(mode, encoder_of):
    model = with_lora(ExtraBertForSentiment.from_backbone(encoder_of("bert")).train(mode))
    assert {module.training for module in model.modules()} == {mode}


@one_task_and_several
def test_the_model_inside_is_ours(model_class, encoder_of):
    plain = model_class.from_backbone(encoder_of("bert"))
    model = with_lora(plain)
    inside = model.get_base_model()
    assert inside is plain
    adapters = {name for name, parameter in inside.backbone.named_parameters() if parameter.requires_grad}
    assert adapters
    assert all(".lora_" in name for name in adapters)


def test_heads_and_poolings_answer_through_the_wrapper(encoder_of, random_batch):
    model = adapted(ExtraBertForParaphrase, encoder_of("bert"))
    batch, labels = random_batch(4), torch.tensor([0, 1, 1, 0])
    output = model(**batch, labels=labels, output_embeddings=True, output_pooling_weights=True)
    assert model.head.sentences_per_row == 2
    assert torch.equal(model.head.loss(output.logits, labels), output.loss)
    torch.testing.assert_close(model.embed(**batch), output.embeddings)
    assert output.pooling_weights.shape == batch["input_ids"].shape


def test_a_task_is_extracted_from_an_adapted_model(encoder_of, random_batch):
    model = adapted(ExtraBertForMultiTask, encoder_of("bert"))
    for task, pair in {"sst": False, "para": True, "sts": True}.items():
        batch = random_batch(4, pair=pair)
        assert torch.equal(model.extract(task)(**batch).logits, model(**batch, task=task).logits)
        torch.testing.assert_close(merge_lora(model).extract(task)(**batch).logits, model(**batch, task=task).logits)


@pytest.mark.parametrize(
    ("model_class", "fields"),
    [
        (ExtraBertForSentiment, {"pooling": "pooler"}),
        (ExtraBertForSimilarity, {"pooling": "pooler"}),
        (ExtraBertForMultiTask, {"tasks": ONE_POOLER}),
    ],
)
def test_a_pooler_that_a_task_reads_is_trained_and_saved(model_class, fields, encoder_of, logits_of, tmp_path):
    model = adapted(model_class, encoder_of("bert"), **fields)
    in_full = {name for name in plain_names(n for n, p in model.named_parameters() if p.requires_grad)}
    assert {name for name in in_full if "pooler" in name} == {
        "backbone.pooler.dense.weight",
        "backbone.pooler.dense.bias",
    }
    save_adapter(model, tmp_path, encoder=encoder_of("bert"))
    torch.testing.assert_close(logits_of(load_adapter(tmp_path)), logits_of(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_a_pooler_that_is_one_linear_layer_gets_no_adapter(pooling, tmp_path, logits_of):
    AutoModel.from_config(AlbertConfig(**SIZES, embedding_size=8)).save_pretrained(tmp_path / "albert")
    model = adapted(ExtraBertForSentiment, str(tmp_path / "albert"), pooling=pooling)
    assert not [name for name, _ in model.named_parameters() if "pooler" in name and "lora_" in name]
    save_adapter(model, tmp_path / "adapter", encoder=str(tmp_path / "albert"))
    torch.testing.assert_close(logits_of(load_adapter(tmp_path / "adapter")), logits_of(model), rtol=0, atol=1e-5)


def test_a_head_without_parameters_has_nothing_to_save(encoder_of, tmp_path, logits_of):
    model = adapted(ExtraBertForSimilarity, encoder_of("bert"), pooling="mean")
    assert not [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]
    save_adapter(model, tmp_path, encoder=encoder_of("bert"))
    torch.testing.assert_close(logits_of(load_adapter(tmp_path)), logits_of(model), rtol=0, atol=1e-5)


def test_only_the_named_linear_layers_get_an_adapter(encoder_of):
    model = with_lora(ExtraBertForSentiment.from_backbone(encoder_of("bert")), target_modules=["query", "value"])
    layers = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert layers == {"query", "value"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"r": 0}, "`lora_r` must be 1 or more, got 0"),
        ({"alpha": 0}, "`lora_alpha` must be more than 0, got 0"),
        ({"alpha": float("nan")}, "`lora_alpha` must be more than 0, got nan"),
        ({"dropout": 1.0}, r"`lora_dropout` must be in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, r"`lora_dropout` must be in \[0, 1\), got -0.1"),
        ({"target_modules": ["q_proj"]}, "must be one or more of 'dense', 'key', 'query', 'value', .* BertModel, got"),
        ({"target_modules": ["classifier"]}, "`lora_target_modules` must be .* got .'classifier'."),
        ({"target_modules": []}, "`lora_target_modules` must be one or more of"),
    ],
)
def test_what_no_adapter_can_be_made_of_is_refused(arguments, message, encoder_of):
    with pytest.raises(InputError, match=message):
        with_lora(ExtraBertForSentiment.from_backbone(encoder_of("bert")), **arguments)


def test_an_encoder_with_modules_named_like_a_head_is_refused():
    sizes = {"vocab_size": 99, "block_sizes": [1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32}
    config = FunnelConfig(**sizes, architectures=["FunnelModel"])
    with pytest.raises(InputError, match=r"no module that is named like a head, got 'backbone\..*q_head'"):
        with_lora(ExtraBertForSentiment(ExtraBertConfig(backbone_config=config)))


def test_an_adapter_is_the_same_file_whenever_it_is_saved_and_another_with_another_head(encoder_of, tmp_path):
    model = adapted(ExtraBertForSentiment, encoder_of("bert"))
    for name in ("first", "again"):
        save_adapter(model, tmp_path / name, encoder="bert-tiny")
    with torch.no_grad():
        model.head.classifier.bias[0] += 1.0
    save_adapter(model, tmp_path / "other", encoder="bert-tiny")

    def content(name):
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    assert content("first") == content("again")
    assert content("first")["adapter_model.safetensors"] != content("other")["adapter_model.safetensors"]


def test_an_encoder_with_many_linear_layers_is_adapted_saved_and_loaded(tmp_path, logits_of):
    encoder = tmp_path / "encoder"
    deep = deepcopy(TINY_BACKBONES["bert"])
    deep.num_hidden_layers = 4  # 24 linear layers
    AutoModel.from_config(deep).save_pretrained(encoder)
    model = adapted(ExtraBertForSimilarity, str(encoder))
    save_adapter(model, tmp_path / "adapter", encoder=str(encoder))
    names = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert len(names) == 24 and all(name.startswith("backbone.encoder.layer.") for name in names)
    torch.testing.assert_close(logits_of(load_adapter(tmp_path / "adapter")), logits_of(model))


@every_model
def test_an_adapter_names_its_encoder_and_no_path(model_class, encoder_of, tmp_path):
    save_adapter(adapted(model_class, encoder_of("bert")), tmp_path, encoder="minilm")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files.keys() == {"adapter_config.json", "adapter_model.safetensors", "config.json"}
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "minilm"
    assert json.loads(files["config.json"])["architectures"] == [model_class.__name__]
    assert not [name for name, content in files.items() if encoder_of("bert").encode() in content]


def test_an_encoder_is_found_by_its_name(encoder_of, tmp_path, logits_of):
    model = adapted(ExtraBertForSentiment, encoder_of("bert"))
    save_adapter(model, tmp_path, encoder="minilm")
    loaded = load_adapter(tmp_path, resolve={"minilm": encoder_of("bert")}.__getitem__)
    torch.testing.assert_close(logits_of(loaded), logits_of(model), rtol=0, atol=1e-5)


@one_task_and_several
def test_an_adapter_of_a_model_trained_before_is_loaded_on_that_model(model_class, encoder_of, tmp_path, logits_of):
    merge_lora(adapted(model_class, encoder_of("bert"))).save_pretrained(tmp_path / "model")
    model = trained(with_lora(AutoModel.from_pretrained(tmp_path / "model")))
    save_adapter(model, tmp_path / "adapter", encoder=str(tmp_path / "model"))
    torch.testing.assert_close(logits_of(load_adapter(tmp_path / "adapter")), logits_of(model), rtol=0, atol=1e-5)


def test_an_encoder_saved_in_bfloat16_is_loaded_in_float32(tmp_path, logits_of):
    AutoModel.from_config(deepcopy(TINY_BACKBONES["bert"]), dtype=torch.bfloat16).save_pretrained(tmp_path / "encoder")
    model = adapted(ExtraBertForSentiment, str(tmp_path / "encoder"))
    save_adapter(model, tmp_path / "adapter", encoder=str(tmp_path / "encoder"))
    loaded = load_adapter(tmp_path / "adapter")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(logits_of(loaded), logits_of(model), rtol=0, atol=1e-5)


def test_the_loaded_model_keeps_its_config(encoder_of, tmp_path):
    fields = {"pooling": "cls", "feed_forward_depth": 1, "class_names": ["bad", "good"], "pad_token_id": 0}
    model = adapted(ExtraBertForSentiment, encoder_of("bert"), **fields)
    save_adapter(model, tmp_path, encoder=encoder_of("bert"))
    config = load_adapter(tmp_path, attn_implementation="eager").config
    assert {name: getattr(config, name) for name in fields} == fields
    assert config.id2label == {0: "bad", 1: "good"}
    assert config._attn_implementation == "eager"


def without_head(weights):
    return {name: weight for name, weight in weights.items() if ".head." not in name}


def with_a_stranger(weights):
    return {**weights, "base_model.model.head.stranger": torch.zeros(1)}


def with_a_narrower_classifier(weights):
    return {name: weight[:2] if "classifier" in name else weight for name, weight in weights.items()}


@pytest.mark.parametrize(
    ("change", "listed"),
    [(without_head, True), (without_head, False), (with_a_stranger, True), (with_a_narrower_classifier, True)],
)
def test_an_adapter_of_other_weights_is_refused(change, listed, encoder_of, tmp_path):
    save_adapter(adapted(ExtraBertForSentiment, encoder_of("bert")), tmp_path, encoder=encoder_of("bert"))
    weights = tmp_path / "adapter_model.safetensors"
    save_file(change(load_file(weights)), weights)
    if not listed:  # as where a head was never listed among the modules to save
        file = tmp_path / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"modules_to_save": None}))
    with pytest.raises(InputError, match=r"must hold what was trained, .* 'head\..*' must be .*, got"):
        load_adapter(tmp_path)


def test_an_adapter_on_an_encoder_of_another_size_is_refused(encoder_of, tmp_path):
    save_adapter(adapted(ExtraBertForSentiment, encoder_of("bert")), tmp_path, encoder=encoder_of("distilbert"))
    with pytest.raises(InputError, match=r"must be the encoder of the adapter in .* 'backbone\..*' must be "):
        load_adapter(tmp_path)


def without(folder, part):
    """Takes the weights with `part` in their names out of an encoder's checkpoint."""
    weights = {name: weight for name, weight in load_file(folder / "model.safetensors").items() if part not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_an_encoder_that_lacks_weights_is_refused(tmp_path):
    AutoModel.from_config(TINY_BACKBONES["bert"]).save_pretrained(tmp_path / "encoder")
    model = adapted(ExtraBertForSentiment, str(tmp_path / "encoder"))
    save_adapter(model, tmp_path / "adapter", encoder=str(tmp_path / "encoder"))
    without(tmp_path / "encoder", "layer.1.")
    with pytest.raises(
        InputError, match=r"must be the encoder of the adapter in .* 'backbone\.encoder\.layer\.1\..* got absent"
    ):
        load_adapter(tmp_path / "adapter")


def test_a_pooler_that_the_encoder_lacks_comes_from_the_adapter(tmp_path, logits_of):
    AutoModel.from_config(TINY_BACKBONES["bert"]).save_pretrained(tmp_path / "encoder")
    without(tmp_path / "encoder", "pooler")
    model = adapted(ExtraBertForSentiment, str(tmp_path / "encoder"), pooling="pooler")
    save_adapter(model, tmp_path / "adapter", encoder=str(tmp_path / "encoder"))
    torch.testing.assert_close(logits_of(load_adapter(tmp_path / "adapter")), logits_of(model), rtol=0, atol=1e-5)


def test_a_folder_without_an_adapter_of_ours_is_refused(encoder_of, tmp_path):
    with pytest.raises(InputError, match=r"must hold an adapter with its adapter_model\.safetensors"):
        load_adapter(encoder_of("bert"))
    save_adapter(adapted(ExtraBertForSentiment, encoder_of("bert")), tmp_path, encoder=encoder_of("bert"))
    TINY_BACKBONES["bert"].save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"must hold an adapter of one of ExtraBertForSentiment, .* got BertModel"):
        load_adapter(tmp_path)


def test_an_adapter_is_not_saved_beside_the_weights_it_would_be_put_on_again(encoder_of, tmp_path):
    model = adapted(ExtraBertForSentiment, encoder_of("bert"))
    merge_lora(model).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="`folder` must hold no other model"):
        save_adapter(model, tmp_path, encoder="bert-tiny")

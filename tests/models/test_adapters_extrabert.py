import threading

import pytest
import torch
from transformers import AutoModel

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask
from extrabert_hf.errors import InputError
from extrabert_hf.models.adapters_extrabert import LinearWithAdapters, adaptable_layers, merge_adapters
from extrabert_hf.pretrained.lora import with_lora
from tests.conftest import TINY_BACKBONES

ADAPTERS = {
    "sst": {"r": 2, "lora_alpha": 4, "target_modules": ["query", "dense"]},
    "para": {"r": 3, "lora_alpha": 3, "target_modules": ["key"]},
}
TASKS = {
    "sst": {"head": "sentiment", "adapter": ADAPTERS["sst"]},
    "para": {"head": "paraphrase", "adapter": ADAPTERS["para"]},
    "sts": {"head": "similarity"},
}


@pytest.fixture
def model(tiny_bert):
    model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert, tasks=TASKS)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def test_an_adapter_adds_b_times_a_to_its_tasks_weight_only(model):
    layer = model.backbone.encoder.layer[0].attention.self.query
    assert isinstance(layer, LinearWithAdapters) and list(layer.adapters) == ["sst"]
    low = layer.adapters["sst"]
    expected = layer.weight + (4 / 2) * low.lora_B.weight @ low.lora_A.weight
    torch.testing.assert_close(layer.merged("sst").weight, expected)
    torch.testing.assert_close(layer.merged("para").weight, layer.weight)
    assert layer.merged("sst").bias is layer.bias


@pytest.mark.parametrize("task", TASKS)
def test_a_tasks_logits_are_those_of_its_merged_model(task, model, random_batch):
    batch = random_batch(5, pair=task != "sst")
    extracted = model.extract(task)
    assert not [name for name, _ in extracted.named_parameters() if "adapters" in name]
    torch.testing.assert_close(model(task=task, **batch).logits, extracted(**batch).logits, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_embed_uses_the_pooling_and_the_adapter_of_the_task(task, model, random_batch):
    batch = random_batch(5)
    vectors = model.embed(**batch, task=task)
    torch.testing.assert_close(vectors, model.extract(task).embed(**batch), atol=1e-6, rtol=1e-5)
    others = [model.embed(**batch, task=other) for other in TASKS if other != task]
    assert all((vectors - other).abs().max() > 1e-2 for other in others)
    with pytest.raises(ValueError, match="`task` must be one of 'sst', 'para', 'sts', got None"):
        model.embed(**batch)


def test_the_tasks_differ_by_their_adapters(model, random_batch):
    batch = random_batch(3, pair=False)
    plain, adapted = (merge_adapters(model.backbone, task)(**batch).last_hidden_state for task in ("sts", "sst"))
    assert (plain - adapted).abs().max() > 1e-2


def test_a_saved_model_gives_the_same_logits(model, random_batch, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.adapters == ADAPTERS
    trained = {name for name, parameter in loaded.backbone.named_parameters() if parameter.requires_grad}
    assert trained == {name for name in loaded.backbone.state_dict() if ".adapters." in name}
    for task in TASKS:
        batch = random_batch(4, pair=task != "sst")
        assert torch.equal(loaded(task=task, **batch).logits, model(task=task, **batch).logits)


@pytest.mark.parametrize("name", TINY_BACKBONES)
def test_any_encoder_takes_adapters(name, random_batch):
    config = TINY_BACKBONES[name].to_dict()
    plain = AutoModel.from_config(TINY_BACKBONES[name])
    layers = sorted({layer.rpartition(".")[2] for layer in adaptable_layers(plain)})
    tasks = {
        task: {"head": "sentiment", "adapter": {"r": 2, "lora_alpha": 2, "target_modules": layers}} for task in "ab"
    }
    model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=config, tasks=tasks)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    batch = random_batch(4, pair=False)
    assert (model(task="a", **batch).logits - model(task="b", **batch).logits).abs().max() > 1e-2
    mixed = model(task=["a", "b", "b", "a"], **batch).logits
    for row, task in enumerate("abba"):
        alone = model(task=task, **{key: value[row : row + 1] for key, value in batch.items()}).logits[0]
        torch.testing.assert_close(mixed[row], alone, atol=1e-5, rtol=1e-4)


def test_two_threads_have_their_own_tasks(model, random_batch):
    batches = {task: random_batch(6, pair=task != "sst") for task in TASKS}
    due = {task: model(task=task, **batch).logits for task, batch in batches.items()}
    wrong = []

    def ask(task):
        for _ in range(20):
            if not torch.allclose(due[task], model(task=task, **batches[task]).logits, atol=1e-6):
                wrong.append(task)

    threads = [threading.Thread(target=ask, args=(task,)) for task in TASKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_encoder_alone_does_not_run_silently_without_an_adapter(model, random_batch):
    with pytest.raises(ValueError, match="must be called by its model, which passes the `task`"):
        model.backbone(**random_batch(2, pair=False))


def test_a_model_on_a_pretrained_encoder_has_adapters_that_change_nothing_yet(tiny_encoder, random_batch, tmp_path):
    model = ExtraBertForMultiTask.from_backbone(tiny_encoder, tasks=TASKS)
    assert sum("lora_A" in name for name in model.state_dict()) == 2 * (4 + 1)  # query and three dense, and key
    batch = random_batch(3, pair=False)
    plain = AutoModel.from_pretrained(tiny_encoder)(**batch).last_hidden_state
    torch.testing.assert_close(merge_adapters(model.backbone, "sst")(**batch).last_hidden_state, plain)
    model.save_pretrained(tmp_path)
    _, loading = ExtraBertForMultiTask.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]


def test_the_encoder_is_frozen_and_adapters_and_heads_train(model, random_batch):
    model(task="sst", **random_batch(3, pair=False), labels=torch.tensor([0, 1, 2])).loss.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert any("adapters.sst.lora_B" in name for name in trained) and any(
        name.startswith("heads.sst") for name in trained
    )
    assert not [name for name in trained if name.startswith("backbone.") and ".adapters.sst." not in name]


def test_gradient_checkpointing_is_refused(model):
    with pytest.raises(ValueError, match="does not support"):
        model.activation_checkpointing_enable()


def test_no_further_adapter_is_put_on_it(model):
    with pytest.raises(InputError, match="must have a model without adapters"):
        with_lora(model)


def test_an_unknown_layer_is_named_with_those_there_are(tiny_bert):
    tasks = {"sst": {"head": "sentiment", "adapter": {"r": 2, "lora_alpha": 2, "target_modules": ["qury"]}}}
    with pytest.raises(ValueError, match=r"`target_modules` .* some of \['dense', 'key', 'query', 'value'\].*'qury'"):
        ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert, tasks=tasks))
    with pytest.raises(Exception, match="must give an `adapter` `r`, `lora_alpha` and `target_modules`"):
        ExtraBertConfig(backbone_config=tiny_bert, tasks={"sst": {"head": "sentiment", "adapter": {"r": 2}}})

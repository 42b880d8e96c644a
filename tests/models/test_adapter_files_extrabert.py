import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask, ExtraBertForParaphrase, ExtraBertForSimilarity
from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.adapters import load_adapter
from extrabert_hf.pretrained.lora import merge_lora, save_adapter, with_lora
from extrabert_hf.sharing.composition import compose_adapters

MODELS = [ExtraBertForParaphrase, ExtraBertForMultiTask]


def adapter_repository(model_class, encoder, folder, **fields):
    """Writes what a repository with an adapter only holds; gives the merged model."""
    model = with_lora(model_class.from_backbone(encoder, **fields), r=3, alpha=5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    save_adapter(model, folder / "adapter", encoder=encoder)
    merged = merge_lora(model).eval()
    merged.config.adapter_subfolder = "adapter"
    merged.config.save_pretrained(folder)
    (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | {"architectures": [model_class.__name__]})
    )
    merged.config.adapter_subfolder = None
    return merged


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("pooling", ["multiplicative", "pooler"])
def test_an_adapters_repository_gives_the_merged_model(model_class, pooling, tiny_encoder, random_batch, tmp_path):
    merged = adapter_repository(model_class, tiny_encoder, tmp_path, pooling=pooling)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is model_class and not loaded.training
    task = {"task": "sts"} if model_class is ExtraBertForMultiTask else {}
    batch = random_batch(4)
    torch.testing.assert_close(loaded(**batch, **task).logits, merged(**batch, **task).logits, atol=1e-5, rtol=1e-5)
    loaded.save_pretrained(tmp_path / "whole")  # it is whole now, and stays so
    again = AutoModel.from_pretrained(tmp_path / "whole")
    assert torch.equal(again(**batch, **task).logits, loaded(**batch, **task).logits)


def test_arguments_of_from_pretrained_reach_the_model(tiny_encoder, tmp_path):
    adapter_repository(ExtraBertForParaphrase, tiny_encoder, tmp_path)
    loaded, loading = ExtraBertForParaphrase.from_pretrained(
        tmp_path, dtype=torch.bfloat16, attn_implementation="eager", output_loading_info=True
    )
    assert loaded.dtype == torch.bfloat16 and loaded.config._attn_implementation == "eager"
    assert not loading["missing_keys"] and not loading["unexpected_keys"]


def test_an_adapter_that_lacks_a_weight_is_refused(tiny_encoder, tmp_path):
    adapter_repository(ExtraBertForParaphrase, tiny_encoder, tmp_path)
    config = ExtraBertConfig.from_pretrained(tmp_path)
    config.feed_forward_depth = 4
    with pytest.raises(
        ValueError, match=r"2 weights differ, the first 'head\.feed_forward\.layers\.3\.bias' must be .* got absent"
    ):
        ExtraBertForParaphrase.from_pretrained(tmp_path, config=config)


def test_an_encoder_that_lacks_a_weight_is_refused(tiny_encoder, tmp_path):
    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    adapter_repository(ExtraBertForParaphrase, str(encoder), tmp_path / "adapted")
    weights = load_file(encoder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("encoder.layer.1.")}
    save_file(kept, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"16 weights differ, the first 'backbone\.encoder\.layer\.1\..* got absent"):
        AutoModel.from_pretrained(tmp_path / "adapted")


def test_a_subfolder_and_fields_of_the_config_may_be_given(tiny_encoder, tmp_path, random_batch):
    merged = adapter_repository(ExtraBertForSimilarity, tiny_encoder, tmp_path / "inside")
    batch = random_batch(3)
    loaded = ExtraBertForSimilarity.from_pretrained(tmp_path, subfolder="inside", similarity_bounds="clamp")
    torch.testing.assert_close(loaded(**batch).logits, merged(**batch).logits.clamp(0, 5), atol=1e-5, rtol=1e-5)
    assert loaded.config.similarity_bounds == loaded.head.bounds == "clamp"
    assert loaded.name_or_path == loaded.config.name_or_path == str(tmp_path)


def test_a_missing_adapter_is_an_error(tiny_encoder, tmp_path):
    adapter_repository(ExtraBertForParaphrase, tiny_encoder, tmp_path)
    shutil.rmtree(tmp_path / "adapter")
    with pytest.raises(OSError, match="adapter_config"):
        AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("option", ["use_rslora", "use_dora", "rank_pattern"])
def test_an_adapter_that_is_not_plain_lora_is_refused_by_each_loader(option, tiny_encoder, tmp_path):
    adapter_repository(ExtraBertForParaphrase, tiny_encoder, tmp_path)
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {option: {"query": 1} if "pattern" in option else True}))
    with pytest.raises(ValueError, match=rf"must hold a plain LoRA adapter, got one with {option}"):
        AutoModel.from_pretrained(tmp_path)
    with pytest.raises(InputError, match=rf"must hold a plain LoRA adapter, got one with {option}"):
        load_adapter(tmp_path / "adapter")
    with pytest.raises(InputError, match=rf"`folders` must hold a plain LoRA adapter: .* got one with {option}"):
        compose_adapters({"para": tmp_path})

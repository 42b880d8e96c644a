"""Adapters in a frozen encoder: put on a model, merged into it, saved, loaded; heads and poolings always with them."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel

from extrabert_hf.errors import InputError
from extrabert_hf.models import MODEL_FOR_HEAD, ExtraBertConfig, ExtraBertForMultiTask, ExtraBertPreTrainedModel
from extrabert_hf.models.base_extrabert import drop_pooler

WEIGHTS_FILE = "adapter_model.safetensors"
ADAPTER = "default"


def with_lora(
    model: ExtraBertPreTrainedModel,
    *,
    r: int = 8,
    alpha: float = 16,
    dropout: float = 0.05,
    target_modules: Sequence[str] | None = None,
) -> PeftModel:
    r"""
    Freezes the encoder and puts a low-rank adapter beside its linear layers: `h = W x + (alpha / r) B A x`.

    LoRA of Hu et al. (2021), https://arxiv.org/abs/2106.09685, Section 4.1. `B` starts at zero, so the logits are the
    same at first. Poolings and heads, and the encoder's own pooler where a task reads it, are trained in full.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            A model of one task or of several; its modules go into the one that is returned.
        r (`int`, defaults to 8):
            Rank of `B A`, 1 or more.
        alpha (`float`, defaults to 16):
            Scale, more than 0.
        dropout (`float`, defaults to 0.05):
            Dropout on the `x` of the adapter, from 0 up to but not 1.
        target_modules (`Sequence[str]`, *optional*):
            Last names of the linear layers that get an adapter, such as `["query", "value"]`; `None` is every one.

    Returns:
        `PeftModel`: called as `model` is, in the same mode; `get_base_model()` gives the `model` inside.

    Raises:
        [`InputError`]: for a number out of its range, or a name that no linear layer of the encoder has.

    Example:
        >>> from transformers import BertConfig
        >>> from extrabert_hf import ExtraBertForSimilarity
        >>> encoder = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> model = with_lora(ExtraBertForSimilarity(ExtraBertConfig(backbone_config=encoder)), target_modules=["key"])
        >>> [name.split(".")[-4:-1] for name, weight in model.named_parameters() if weight.requires_grad][:2]
        [['key', 'lora_A', 'default'], ['key', 'lora_B', 'default']]
    """
    if getattr(model, "adapters", None):
        raise InputError("`lora` must have a model without adapters of its own: take one task of it at a time.")
    if r < 1:
        raise InputError(f"`lora_r` must be 1 or more, got {r}.")
    if not alpha > 0:
        raise InputError(f"`lora_alpha` must be more than 0, got {alpha}.")
    if not 0 <= dropout < 1:
        raise InputError(f"`lora_dropout` must be in [0, 1), got {dropout}.")
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=_linear_layers(model, target_modules),
        modules_to_save=_modules_in_full(model),
    )
    return _wrapped(model, config)


def merge_lora(model: PeftModel) -> ExtraBertPreTrainedModel:
    """
    Gives a plain copy of an adapted model, `W + (alpha / r) B A` in place of each `W`; `model` stays as it is.

    Hu et al. (2021), Section 4.1: merged, an adapter costs no time.

    Args:
        model (`PeftModel`):
            What [`with_lora`] gave, trained or not.

    Returns:
        [`ExtraBertPreTrainedModel`]: of the class that was adapted, in the same mode and on the same device.
    """
    return _merged(copy.deepcopy(model)).train(model.training)


def save_adapter(model: PeftModel, folder: str | Path, *, encoder: str) -> None:
    """
    Writes what was trained, and nothing of the frozen encoder, in peft's format beside the model's `config.json`.

    [`load_adapter`] reads it, and so does `PeftModel.from_pretrained` on a model built with `from_backbone`.

    Args:
        model (`PeftModel`):
            What [`with_lora`] gave.
        folder (`str` or `Path`):
            Where to write.
        encoder (`str`):
            What the user calls the encoder: a Hub id, a folder or `"minilm"`.

    Raises:
        [`InputError`]: if `folder` holds the weights of a whole model, which would then be loaded with the adapter on
        top of them.
    """
    folder = Path(folder)
    if list(folder.glob("model*.safetensors")):
        raise InputError(f"`folder` must hold no other model, transformers would adapt that one, got {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    plain = model.get_base_model()
    config = copy.deepcopy(plain.config)
    config.architectures = [type(plain).__name__]
    config.backbone_config.name_or_path = encoder  # not the path that it had on this machine
    del config.auto_map  # the code is not beside it: an adapter alone is no model
    config.to_json_file(folder / "config.json")
    lora_config = copy.copy(model.peft_config[ADAPTER])
    lora_config.base_model_name_or_path = encoder
    lora_config.inference_mode = True
    lora_config.target_modules = sorted(lora_config.target_modules)  # a set: its order differs from run to run
    lora_config.save_pretrained(folder)
    save_file(_trained_weights(model), folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_adapter(
    folder: str | Path, *, resolve: Callable[[str], str] = str, attn_implementation: str | None = None
) -> ExtraBertPreTrainedModel:
    """
    Builds the model whose adapter [`save_adapter`] wrote, and merges it.

    Args:
        folder (`str` or `Path`):
            The adapter's.
        resolve (`Callable[[str], str]`, *optional*):
            Turns the encoder's name into the folder or Hub id to load it from; by default they are the same.
        attn_implementation (`str`, *optional*):
            As in transformers.

    Returns:
        [`ExtraBertPreTrainedModel`]: in float32 and evaluation mode.

    Raises:
        [`InputError`]: if `folder` holds no adapter of this package, or not exactly the weights that were trained.
    """
    folder = Path(folder)
    if not (folder / WEIGHTS_FILE).is_file():
        raise InputError(f"`folder` must hold an adapter with its {WEIGHTS_FILE}, got {folder}.")
    lora_config = PeftConfig.from_pretrained(str(folder))
    model = _on_encoder(folder, resolve(lora_config.base_model_name_or_path), attn_implementation)
    lora_config.base_model_name_or_path = None
    lora_config.modules_to_save = _modules_in_full(model)  # whatever the file says: no fresh head may stay
    adapted = _wrapped(model, lora_config)
    weights = load_file(folder / WEIGHTS_FILE)
    _check_same_shapes(weights, _trained_weights(adapted), f"`folder` must hold what was trained, in {folder}")
    set_peft_model_state_dict(adapted, weights, ADAPTER)
    return _merged(adapted).eval()


def _linear_layers(model: ExtraBertPreTrainedModel, last_names: Sequence[str] | None) -> list[str]:
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("backbone.") and name.split(".")[1] != "pooler"
    ]
    known = sorted({name.rpartition(".")[2] for name in layers})
    wanted = known if last_names is None else last_names
    if not wanted or not set(wanted) <= set(known):
        raise InputError(
            f"`lora_target_modules` must be one or more of {', '.join(map(repr, known))}, the linear layers of a "
            f"{type(model.backbone).__name__}, got {list(wanted)}."
        )
    return [name for name in layers if name.rpartition(".")[2] in wanted]


def _modules_in_full(model: ExtraBertPreTrainedModel) -> list[str]:
    """Names the poolings and heads that have parameters, and the encoder's pooler where a task reads it."""
    depth = 2 if isinstance(model, ExtraBertForMultiTask) else 1  # `heads.sts`: peft takes no `ModuleDict`
    outside = [name for name, _ in model.named_parameters() if not name.startswith("backbone.")]
    names = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in outside))
    if "pooler" in model.config.poolings:
        names.append("backbone.pooler")
    for name, _ in model.backbone.named_modules(prefix="backbone"):  # peft compares the ends of names
        if name not in names and name.endswith(tuple(names)):
            raise InputError(f"`lora` must have an encoder whose modules are not named like a head, got {name!r}.")
    return names


def _wrapped(model: ExtraBertPreTrainedModel, config: PeftConfig) -> PeftModel:
    mode = model.training
    return get_peft_model(model, config, ADAPTER).train(mode)  # new layers come in training mode


def _merged(model: PeftModel) -> ExtraBertPreTrainedModel:
    return model.merge_and_unload().requires_grad_(True)


def _trained_weights(model: PeftModel) -> dict[str, torch.Tensor]:
    return get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)


def _on_encoder(folder: Path, path: str, attn_implementation: str | None) -> ExtraBertPreTrainedModel:
    """Builds the model of `folder`'s config on the encoder in `path`; what stands outside the encoder is fresh."""
    config = AutoConfig.from_pretrained(folder)
    classes = {model.__name__: model for model in (*MODEL_FOR_HEAD.values(), ExtraBertForMultiTask)}
    architecture = (config.architectures or ["no architecture"])[0]
    if not isinstance(config, ExtraBertConfig) or architecture not in classes:
        raise InputError(f"`folder` must hold an adapter of one of {', '.join(classes)}, got {architecture}.")
    loading_options = {"dtype": torch.float32, "attn_implementation": attn_implementation}
    model = classes[architecture]._from_config(config, **loading_options)
    encoder, loading = AutoModel.from_pretrained(path, output_loading_info=True, **loading_options)
    if isinstance(encoder, ExtraBertPreTrainedModel):  # training went on from a model of this package
        encoder = encoder.backbone
    if "pooler" not in config.poolings:
        drop_pooler(encoder)
    fresh = {name.removeprefix("backbone.") for name in loading["missing_keys"]}
    there = {
        name: weight
        for name, weight in encoder.state_dict().items()
        if name not in fresh or name.startswith("pooler.")  # a pooler that is read comes from the adapter
    }
    _check_same_shapes(there, model.backbone.state_dict(), f"the encoder must be the one of {folder}, in {path}")
    model.backbone = encoder
    return model


def _check_same_shapes(there: Mapping[str, torch.Tensor], due: Mapping[str, torch.Tensor], message: str) -> None:
    for name in sorted(there.keys() | due.keys()):
        was, needed = (tuple(part[name].shape) if name in part else "absent" for part in (there, due))
        if was != needed:
            raise InputError(f"{message} {name!r} must be {needed}, got {was}.")

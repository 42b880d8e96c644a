"""Adds LoRA adapters to a model, merges them, and saves them together with pooling and head (needs peft)."""

import copy
from collections.abc import Sequence
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

from extrabert_hf.errors import InputError
from extrabert_hf.models import ExtraBertForMultiTask, ExtraBertPreTrainedModel
from extrabert_hf.models.adapter_files_extrabert import PRINT, WEIGHTS_FILE, weights_print
from extrabert_hf.models.encoder_code_extrabert import save_code

ADAPTER = "default"
"""peft's name for the only adapter of a model."""


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

    LoRA of Hu et al. (2021), https://arxiv.org/abs/2106.09685, Section 4.1. `B` starts at zero, so a new adapter does
    not change the logits. Poolings and heads, and the encoder's pooler if a task uses it, are trained in full.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            A model of one task or of several. The call modifies the model and returns it inside the result.
        r (`int`, defaults to 8):
            Rank of `B A`, 1 or more.
        alpha (`float`, defaults to 16):
            Scale `alpha`, more than 0.
        dropout (`float`, defaults to 0.05):
            Dropout on the input `x` of the adapter, in `[0, 1)`.
        target_modules (`Sequence[str]`, *optional*):
            Last parts of the names of the linear layers that get an adapter, such as `["query", "value"]`; `None` is
            every linear layer of the encoder.

    Returns:
        `PeftModel`: takes the same inputs as `model` and is in the same mode; `get_base_model()` returns `model`.

    Raises:
        [`InputError`]: if a number is out of range, or no linear layer of the encoder has one of the names.

    Example:
        >>> from transformers import BertConfig
        >>> from extrabert_hf import ExtraBertConfig, ExtraBertForSimilarity
        >>> encoder = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> model = with_lora(ExtraBertForSimilarity(ExtraBertConfig(backbone_config=encoder)), target_modules=["key"])
        >>> [name.split(".")[-4:-1] for name, weight in model.named_parameters() if weight.requires_grad][:2]
        [['key', 'lora_A', 'default'], ['key', 'lora_B', 'default']]
    """
    if getattr(model, "adapters", None):
        raise InputError("`lora` must have a model without adapters: extract one task from it first.")
    if r < 1:
        raise InputError(f"`lora_r` must be 1 or more, got {r}.")
    if not alpha > 0:
        raise InputError(f"`lora_alpha` must be more than 0, got {alpha}.")
    if not 0 <= dropout < 1:
        raise InputError(f"`lora_dropout` must be in [0, 1), got {dropout}.")
    layers = _linear_layers(model, target_modules)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=layers,
        modules_to_save=_modules_in_full(model),
    )
    mode = model.training
    adapted = get_peft_model(model, config, ADAPTER)
    config.target_modules = set(layers)  # of 20 names or more, peft keeps only the last parts
    return adapted.train(mode)  # peft creates its layers in training mode


def merge_lora(model: PeftModel) -> ExtraBertPreTrainedModel:
    """
    Returns a copy of an adapted model with `W + (alpha / r) B A` in place of each `W`; `model` does not change.

    A merged adapter adds no inference time (Hu et al., 2021, Section 4.1).

    Args:
        model (`PeftModel`):
            The result of [`with_lora`], trained or not.

    Returns:
        [`ExtraBertPreTrainedModel`]: of the class of the adapted model, in the same mode and on the same device.
    """
    merged = copy.deepcopy(model).merge_and_unload()
    return merged.requires_grad_(True).train(model.training)


def save_adapter(model: PeftModel, folder: str | Path, *, encoder: str) -> None:
    """
    Writes the trained weights, without the frozen encoder, in peft's format, and the model's `config.json`.

    Both `load_adapter` and `PeftModel.from_pretrained` (on a model from `from_backbone`) read the folder.

    Args:
        model (`PeftModel`):
            The result of [`with_lora`].
        folder (`str` or `Path`):
            Folder to write to.
        encoder (`str`):
            Name of the encoder: a Hub id, `"minilm"`, or a folder's name from [`public_model_name`].

    Raises:
        [`InputError`]: if `folder` holds the weights of a whole model: transformers would add the adapter to them.
    """
    folder = Path(folder)
    if list(folder.glob("model*.safetensors")):
        raise InputError(
            f"`folder` must hold no other model, because transformers would add the adapter to it, got {folder}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    plain = model.get_base_model()
    config = copy.deepcopy(plain.config)
    config.architectures = [type(plain).__name__]
    config.backbone_config.name_or_path = encoder  # not the path of the encoder on this machine
    del config.auto_map  # `auto_map` names code files, which an adapter's folder does not have
    config.to_json_file(folder / "config.json")
    save_code(plain.backbone, folder)
    lora_config = copy.copy(model.peft_config[ADAPTER])
    lora_config.base_model_name_or_path = encoder
    lora_config.inference_mode = True
    lora_config.target_modules = sorted(lora_config.target_modules)  # a set has another order in each run
    lora_config.save_pretrained(folder)
    weights = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    encoder_print = weights_print(plain.get_submodule(layer).base_layer.weight for layer in lora_config.target_modules)
    save_file(weights, folder / WEIGHTS_FILE, metadata={PRINT: encoder_print})  # one key: the order of several differs


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
    """Returns the names of the poolings and heads with parameters, and of the encoder's pooler if a task uses it."""
    depth = 2 if isinstance(model, ExtraBertForMultiTask) else 1  # `heads.sts`: peft cannot save a `ModuleDict`
    outside = [name for name, _ in model.named_parameters() if not name.startswith("backbone.")]
    names = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in outside))
    if "pooler" in model.config.poolings:
        names.append("backbone.pooler")
    for name, _ in model.backbone.named_modules(prefix="backbone"):  # peft compares the ends of names
        if name not in names and name.endswith(tuple(names)):
            raise InputError(f"`lora` must have an encoder with no module that is named like a head, got {name!r}.")
    return names

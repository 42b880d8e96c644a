"""The base class of all models: the pretrained encoder, and how a model is loaded."""

import copy
import inspect
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from .adapter_files_extrabert import HUB_ARGUMENTS, AdapterFiles
from .configuration_extrabert import ExtraBertConfig
from .encoder_code_extrabert import name_code, save_code
from .forward_extrabert import ForwardPass
from .pipeline_names_extrabert import PIPELINE_FOR_HEAD
from .pipelines_extrabert import custom_pipelines
from .pooling_extrabert import MultiplicativeAttentionPooling
from .unpadding_extrabert import RELATIVE, UNPADDABLE, can_unpad, enable_unpadding, lacks_kernel

logger = logging.getLogger(__name__)


class ExtraBertPreTrainedModel(ForwardPass, PreTrainedModel):
    """
    Base class with the encoder. The subclasses add a pooling and a head for one task, or for each of several tasks.

    Sentences are encoded without padding if the encoder supports it, see [`why_padded`], unless `model.unpad` is
    `False`. The results differ by rounding only. A forward with `inputs_embeds`, `output_hidden_states` or
    `output_attentions` uses padding.
    """

    unpad = True
    resolve_name = staticmethod(str)  # extrabert_hf, where installed, replaces it: names such as "minilm" work too
    head_kind: str  # "sentiment", "paraphrase" or "similarity"; only models of one task have it
    config_class = ExtraBertConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the loss is a mean over the batch: the Trainer divides by the accumulation steps
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: ExtraBertConfig) -> None:
        if config.model_type != ExtraBertConfig.model_type:
            raise ValueError(
                f"`config` must be an ExtraBertConfig, got a {type(config).__name__}: pass "
                f"ExtraBertConfig(backbone_config=config), or a name to {type(self).__name__}.from_backbone."
            )
        config = copy.copy(config)  # several models can be built from one config, each with its own labels
        # `save_pretrained` itself adds `AutoConfig`, and of the models only the class of the last load
        reference = f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"
        config.auto_map = {"AutoModel": reference, "AutoModelForSequenceClassification": reference}
        config.custom_pipelines = custom_pipelines(config.tasks or [PIPELINE_FOR_HEAD[self.head_kind]])
        super().__init__(config)
        # in the dtype of pooling and head: the config of an encoder saved in bfloat16 names bfloat16
        backbone = AutoModel.from_config(config.backbone_config, trust_remote_code=False)  # `None` asks on stdin
        ExtraBertPreTrainedModel._set_encoder(self, backbone.to(torch.get_default_dtype()))
        if "pooler" not in config.poolings:
            drop_pooler(self.backbone)
        elif getattr(self.backbone, "pooler", None) is None:
            raise ValueError(
                f"`pooling` must be one of 'cls', 'mean', 'dot', 'multiplicative' for a "
                f"{config.backbone_config.model_type} encoder, which has no pooler, got 'pooler'."
            )
        enable_unpadding(self.backbone)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | None, *model_args: Any, config: Any = None, **kwargs: Any
    ) -> "ExtraBertPreTrainedModel":
        """
        As in transformers. If the repository holds only a LoRA adapter, merges the adapter into its encoder. If it
        holds a plain encoder, loads the encoder and reports that pooling and head are newly initialized.
        """
        if pretrained_model_name_or_path is None:
            return super().from_pretrained(None, *model_args, config=config, **kwargs)
        pretrained_model_name_or_path = cls.resolve_name(pretrained_model_name_or_path)
        hub_arguments = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
        if (model_class := cls._named_by(config, pretrained_model_name_or_path, hub_arguments)) is not cls:
            return model_class.from_pretrained(pretrained_model_name_or_path, *model_args, config=config, **kwargs)
        saved = config
        if not isinstance(config, PreTrainedConfig):  # not `ExtraBertConfig`: remote code may define a second one
            name = config or pretrained_model_name_or_path
            reading = {key: value for key, value in hub_arguments.items() if key != "trust_remote_code"}
            fields, _ = PreTrainedConfig.get_config_dict(name, **reading)
            if fields.get("model_type", ExtraBertConfig.model_type) != ExtraBertConfig.model_type:
                return cls._from_encoder(pretrained_model_name_or_path, name, hub_arguments, **kwargs)
            saved = cls.config_class.from_pretrained(name, **reading)
        if saved.adapter_subfolder is None:
            return super().from_pretrained(pretrained_model_name_or_path, *model_args, config=config, **kwargs)
        merged_config, loading = copy.copy(saved), kwargs
        if saved is not config:
            merged_config, loading = cls.config_class.from_pretrained(
                config or pretrained_model_name_or_path, return_unused_kwargs=True, **kwargs
            )
        merged_config.adapter_subfolder = None
        adapter = AdapterFiles.read(pretrained_model_name_or_path, saved.adapter_subfolder, hub_arguments)
        loading = {name: value for name, value in loading.items() if name not in (*hub_arguments, "adapter_kwargs")}
        loaded = cls.from_adapter(adapter, merged_config, hub_arguments=hub_arguments, **loading)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # with `output_loading_info`
        model.name_or_path = model.config.name_or_path = str(pretrained_model_name_or_path)
        return loaded

    @classmethod
    def _named_by(cls, config: Any, name: str, hub_arguments: Mapping[str, Any]) -> type["ExtraBertPreTrainedModel"]:
        """
        Returns the class that the config of trusted code names.

        Folders with the same last name share the config class, for which `AutoModel` keeps the first class.
        """
        reference = (getattr(config, "auto_map", None) or {}).get("AutoModel", cls.__name__)
        is_installed = not cls.__module__.startswith("transformers_modules.")
        if is_installed or reference.endswith(cls.__name__) or not hub_arguments.get("trust_remote_code"):
            return cls
        fetching = {key: value for key, value in hub_arguments.items() if key != "trust_remote_code"}
        return get_class_from_dynamic_module(reference, name, **fetching)

    @classmethod
    def _from_encoder(
        cls, name: str, config_name: str, hub_arguments: Mapping[str, Any], **kwargs: Any
    ) -> "ExtraBertPreTrainedModel":
        trusted = bool(hub_arguments.get("trust_remote_code"))
        others = {key: value for key, value in hub_arguments.items() if key != "trust_remote_code"}
        encoder_config = AutoConfig.from_pretrained(config_name, trust_remote_code=trusted, **others)
        _refuse_decoder(encoder_config, name)
        config, loading = cls.config_class.from_dict(
            {"backbone_config": encoder_config}, return_unused_kwargs=True, **kwargs
        )
        encoder, report = AutoModel.from_pretrained(
            name,
            config=encoder_config,
            dtype=loading.get("dtype"),
            output_loading_info=True,
            trust_remote_code=trusted,
            **others,
        )
        with torch.device("meta"):
            due = cls(config).state_dict()
        weights = {
            f"backbone.{key}": weight
            for key, weight in encoder.state_dict().items()
            if key not in report["missing_keys"] and f"backbone.{key}" in due
        }
        logger.warning(
            "%r holds a plain %s encoder: the pooling and the head of %s are newly initialized. Train the model "
            "before you use it. %s.from_backbone(%r) builds such a model without this warning.",
            *(name, encoder_config.model_type, cls.__name__, cls.__name__, name),
        )
        loading = {key: value for key, value in loading.items() if key not in hub_arguments}
        loaded = super().from_pretrained(None, config=config, state_dict=weights, **loading)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.name_or_path = model.config.name_or_path = str(name)
        return loaded

    @classmethod
    def from_adapter(
        cls,
        adapter: AdapterFiles,
        config: ExtraBertConfig,
        *,
        encoder: str | None = None,
        hub_arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> "ExtraBertPreTrainedModel":
        """
        Builds a model in evaluation mode from a LoRA adapter, merged into the encoder that it was trained on.

        Args:
            adapter ([`AdapterFiles`]):
                The adapter, with the pooling and the head.
            config ([`ExtraBertConfig`]):
                Config of the model.
            encoder (`str`, *optional*):
                Hub id or folder of the encoder; `None` is the name that was saved with the adapter.
            hub_arguments (`Mapping[str, Any]`, *optional*):
                Arguments for the download of the encoder: `token`, `cache_dir`, ... as in `from_pretrained`.
            kwargs:
                Other arguments of `from_pretrained`, such as `dtype`.

        Raises:
            `ValueError`: if the encoder or the adapter lacks a weight of the model, or has a weight that the model
            lacks.
        """
        with torch.device("meta"):
            due = cls(config).state_dict()
        weights = adapter.merged_into(adapter.load_encoder(encoder, hub_arguments)[1], due)
        return super().from_pretrained(None, config=config, state_dict=weights, **kwargs)

    @classmethod
    def from_backbone(
        cls,
        pretrained_model_name_or_path: str,
        *,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        trust_remote_code: bool = False,
        **config_fields: Any,
    ) -> "ExtraBertPreTrainedModel":
        """
        Builds a model in evaluation mode on a pretrained encoder; pooling and head are newly initialized.

        Args:
            pretrained_model_name_or_path (`str` or `Path`):
                Hub id or folder of any encoder that `AutoModel` loads; with extrabert_hf also `"minilm"`.
            dtype (`torch.dtype` or `str`, *optional*):
                dtype of all weights; `None` is float32.
            attn_implementation (`str`, *optional*):
                `"eager"`, `"sdpa"`, `"flash_attention_2"`, ... as in transformers.
            trust_remote_code (`bool`, defaults to `False`):
                Whether to run code of the encoder's files, as in transformers.
            config_fields:
                Fields of [`ExtraBertConfig`], such as `pooling="mean"`.

        Raises:
            `ValueError`: if the checkpoint lacks weights of the encoder or has them in other shapes than its config
            says, or if a field is not valid.
        """
        pretrained_model_name_or_path = cls.resolve_name(pretrained_model_name_or_path)
        backbone, loading = AutoModel.from_pretrained(
            pretrained_model_name_or_path,
            dtype=dtype or torch.float32,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they raise below, with their shapes
        )
        _refuse_decoder(backbone.config, pretrained_model_name_or_path)
        _check_shapes_of_weights(loading["mismatched_keys"], pretrained_model_name_or_path)
        _warn_of_unused_layers(backbone, loading["unexpected_keys"], pretrained_model_name_or_path)
        missing = sorted(loading["missing_keys"])
        missing_encoder = [key for key in missing if not key.startswith("pooler.")]
        if missing_encoder:
            raise ValueError(
                f"{pretrained_model_name_or_path!r} must hold every weight of its encoder, "
                f"{len(missing_encoder)} are missing, the first {missing_encoder[0]!r}."
            )
        config = ExtraBertConfig(backbone_config=backbone.config, **config_fields)
        if missing and "pooler" in config.poolings:
            logger.warning("%s has no pooler weights: the pooler is newly initialized.", pretrained_model_name_or_path)
        model = cls._from_config(config, dtype=backbone.dtype, attn_implementation=attn_implementation)
        if "pooler" not in config.poolings:
            drop_pooler(backbone)
        enable_unpadding(backbone)
        model._set_encoder(backbone)
        return model.eval()

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """As in transformers. Also copies the code of an encoder that was loaded with `trust_remote_code=True`."""
        super().save_pretrained(save_directory, *args, **kwargs)
        save_code(self.backbone, save_directory)

    def _set_encoder(self, backbone: PreTrainedModel) -> None:
        self.backbone = backbone
        name_code(backbone)
        backbone.config.return_dict = True  # also if an encoder was saved with False
        self.config.backbone_config = backbone.config  # a resized vocabulary is in both

    def why_padded(self, *, training: bool | None = None) -> str | None:
        """Returns why sentences are padded, or `None`; `training` (dropout is on) is by default `self.training`."""
        if not self.unpad:
            return "disabled by unpad=False"
        model_type, attention = self.backbone.config.model_type, self.backbone.config._attn_implementation
        if self.config.encode_by_length:
            return f"no padding, one length at a time: padding changes the output of {model_type} encoders"
        if model_type not in UNPADDABLE:
            return f"not supported by {model_type} encoders"
        if can_unpad(self.backbone):
            return lacks_kernel(self.backbone, self.training if training is None else training)
        which = f"this form of {model_type} encoders" if model_type in RELATIVE else f"the attention {attention!r}"
        return f"not supported by {which}"

    @property
    def max_tokens(self) -> int | None:
        """
        Maximum number of tokens in an input of the encoder, special tokens included; `None` for no known limit.

        The position ids of RoBERTa and similar encoders start after the id of the padding token, so that such an
        encoder takes fewer tokens than its config has positions.
        """
        limits = [] if self.config.max_positions is None else [self.config.max_positions]
        for name, module in self.backbone.named_modules():
            table = module._parameters.get("weight")
            if name.rpartition(".")[2] == "position_embeddings" and table is not None and table.dim() == 2:
                padding = getattr(module, "padding_idx", None)
                limits.append(table.shape[0] - (0 if padding is None else padding + 1))
        return min(limits, default=None)

    @classmethod
    def is_custom_code(cls) -> bool:
        """Returns `False`: for custom code, transformers leaves out buffers of the encoder that no checkpoint has."""
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MultiplicativeAttentionPooling):
            init.zeros_(module.query)
            if module.weight is not None:
                init.eye_(module.weight)


def _refuse_decoder(config: PreTrainedConfig, source: str) -> None:
    # the class too: the config of an encoder that was saved alone says False
    if config.is_encoder_decoder or getattr(type(config), "is_encoder_decoder", False):
        raise ValueError(
            f"{source!r} must hold an encoder, got an encoder and a decoder of type {config.model_type!r}."
        )


def _check_shapes_of_weights(mismatched: Iterable[tuple[str, Any, Any]], source: str) -> None:
    if different := sorted(mismatched):
        name, found, due = different[0]
        raise ValueError(
            f"{source!r} must hold weights of the sizes in its config.json, {len(different)} differ, the first "
            f"{name!r} must be {tuple(due)}, got {tuple(found)}."
        )


def _warn_of_unused_layers(backbone: PreTrainedModel, unexpected: Iterable[str], source: str) -> None:
    """Warns of weights of further layers: their names are those of the encoder's weights but for the numbers."""

    def kind(name: str) -> str:
        return ".".join("N" if part.isdigit() else part for part in name.split("."))

    kinds = {kind(name) for name in backbone.state_dict()}
    unused = sorted(name for name in unexpected if {kind(name), kind(name.partition(".")[2])} & kinds)
    if unused:
        logger.warning(
            "%s has %d weights of layers that its config.json does not have, the first %r: they are NOT used.",
            source,
            len(unused),
            unused[0],
        )


def drop_pooler(backbone: PreTrainedModel) -> None:
    """Removes the pooler if no head uses it and the encoder allows it: its parameters would get no gradient."""
    if "add_pooling_layer" in inspect.signature(type(backbone).__init__).parameters:
        backbone.pooler = None


ExtraBertPreTrainedModel.register_for_auto_class("AutoModel")  # `save_pretrained` copies the code of every subclass

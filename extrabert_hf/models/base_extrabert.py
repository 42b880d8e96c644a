"""The base class of all models: the pretrained encoder, the forward pass from token ids to logits, the output."""

import copy
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME, ModelOutput

from .adapter_files_extrabert import HUB_ARGUMENTS, AdapterFiles
from .configuration_extrabert import ExtraBertConfig
from .cross_encoding_extrabert import CrossEncoderInputs
from .pipelines_extrabert import PIPELINE_FOR_HEAD, custom_pipelines
from .pooling_extrabert import MultiplicativeAttentionPooling
from .unpadding_extrabert import UNPADDABLE, UNPADDED, enable_unpadding, encode_unpadded

logger = logging.getLogger(__name__)


@dataclass
class ExtraBertOutput(ModelOutput):
    """
    Output of a model.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*):
            Mean cross-entropy, or mean squared error for the similarity head; returned if `labels` are passed.
        logits (`torch.FloatTensor` of shape `(batch, num_labels)`):
            One logit per class. The similarity head returns `(batch, 1)`, the score in the units of the labels.
        embeddings (`torch.FloatTensor` of shape `(batch, d)` or `(batch, 2, d)`, *optional*):
            The pooled sentence vectors, with `output_embeddings=True`. A cross-encoder has one vector per pair.
        pooling_weights (`torch.FloatTensor` of shape `(batch, seq)` or `(batch, 2, seq)`, *optional*):
            The weight of each token in its sentence vector, with `output_pooling_weights=True`. Rows sum to 1.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    embeddings: torch.FloatTensor | None = None
    pooling_weights: torch.FloatTensor | None = None


class ExtraBertPreTrainedModel(PreTrainedModel):
    """
    Base class with the encoder. The subclasses add a pooling and a head for one task, or for each of several tasks.

    Sentences are encoded without padding if the encoder supports it, see [`why_padded`]. `model.unpad = False` or
    `model.set_attn_implementation("sdpa")` disables this. The results differ by rounding only.
    """

    unpad = True
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
        config = copy.copy(config)  # several models can be built from one config, each with its own labels
        # `save_pretrained` itself adds the entries for `AutoConfig` and `AutoModel`
        reference = f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"
        config.auto_map = {"AutoModelForSequenceClassification": reference}
        config.custom_pipelines = custom_pipelines(config.tasks or [PIPELINE_FOR_HEAD[self.head_kind]])
        super().__init__(config)
        # in the dtype of pooling and head: the config of an encoder saved in bfloat16 names bfloat16
        backbone = AutoModel.from_config(config.backbone_config, trust_remote_code=False)  # `None` asks on stdin
        self.backbone = backbone.to(torch.get_default_dtype())
        _name_no_code(self.backbone)
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
        """As in transformers. If the repository holds only a LoRA adapter, merges the adapter into its encoder."""
        if pretrained_model_name_or_path is None:
            return super().from_pretrained(None, *model_args, config=config, **kwargs)
        hub_arguments = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
        saved = config
        if not isinstance(config, PreTrainedConfig):  # not `ExtraBertConfig`: remote code may define a second one
            saved = cls.config_class.from_pretrained(config or pretrained_model_name_or_path, **hub_arguments)
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
            pretrained_model_name_or_path (`str`):
                Hub id or folder of any encoder that `AutoModel` loads.
            dtype (`torch.dtype` or `str`, *optional*):
                dtype of all weights; `None` is float32.
            attn_implementation (`str`, *optional*):
                `"eager"`, `"sdpa"`, `"flash_attention_2"`, ... as in transformers.
            trust_remote_code (`bool`, defaults to `False`):
                Whether to run code of the encoder's files, as in transformers.
            config_fields:
                Fields of [`ExtraBertConfig`], such as `pooling="mean"`.

        Raises:
            `ValueError`: if the checkpoint lacks weights of the encoder, or a field is not valid.
        """
        backbone, loading = AutoModel.from_pretrained(
            pretrained_model_name_or_path,
            dtype=dtype or torch.float32,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
        missing = sorted(loading["missing_keys"])
        missing_encoder = [key for key in missing if not key.startswith("pooler.")]
        if missing_encoder:
            raise ValueError(
                f"{pretrained_model_name_or_path!r} must hold every weight of its encoder, "
                f"{len(missing_encoder)} are missing, the first {missing_encoder[0]!r}."
            )
        if _is_own_code(backbone) and not _is_own_code(backbone.config):
            raise ValueError("the encoder's code must have a config class of its own, named in `auto_map`.")
        _name_no_code(backbone)
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
        if _is_own_code(self.backbone):
            custom_object_save(self.backbone, save_directory)

    def _set_encoder(self, backbone: PreTrainedModel) -> None:
        self.backbone = backbone

    def _pool(
        self, pooling: nn.Module | None, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Sentences `(S, T)`, or pairs `(S, 2, T)` of a cross-encoder -> vectors `(S, d)`, weights of the tokens."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        pairs = CrossEncoderInputs.of(input_ids, attention_mask) if input_ids.dim() == 3 else None
        sequences = (input_ids, attention_mask) if pairs is None else (pairs.input_ids, pairs.attention_mask)
        states, pooler_output = self._encode(*sequences, None if pairs is None else pairs.token_type_ids)
        if pooling is None:
            return pooler_output, None
        vectors, weights = pooling(states, sequences[1])
        return vectors, weights if pairs is None else pairs.split(weights, input_ids.shape[-1])

    def _encode(
        self, input_ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None, *, may_unpad: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(S, T)` -> token states `(S, T, d)` and the pooler's output `(S, d)`, or `None` without a pooler."""
        has_types = types is not None and getattr(self.backbone.config, "type_vocab_size", 0) > 1
        type_inputs = {"token_type_ids": types} if has_types else {}
        is_compiling = torch.compiler.is_compiling()  # without padding, each batch would be compiled again
        if may_unpad and not is_compiling and self.why_padded() is None and mask.any():
            return encode_unpadded(self.backbone, input_ids, mask, **type_inputs)
        encoded = self.backbone(input_ids=input_ids, attention_mask=mask, **type_inputs)
        return encoded.last_hidden_state, encoded.get("pooler_output")

    def why_padded(self) -> str | None:
        """Returns the reason why sentences are encoded with padding; `None` if they are encoded without."""
        if not self.unpad:
            return "disabled by unpad=False"
        model_type, attention = self.backbone.config.model_type, self.backbone.config._attn_implementation
        if model_type not in UNPADDABLE:
            return f"not supported by {model_type} encoders"
        return None if attention == UNPADDED else f"not supported by the attention {attention!r}"

    def _score(
        self,
        pooling: nn.Module | None,
        head: nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        labels: torch.Tensor | None,
        output_embeddings: bool,
        output_pooling_weights: bool,
    ) -> ExtraBertOutput:
        rows, seq = self._check_shapes(head, input_ids, labels)
        if not head.is_cross_encoder:  # each sentence is a sequence: pairs are (2B, T)
            input_ids = input_ids.reshape(-1, seq)
            attention_mask = None if attention_mask is None else attention_mask.reshape(-1, seq)
        embeddings, weights = self._pool(pooling, input_ids, attention_mask)
        if not head.is_cross_encoder:
            embeddings = embeddings.view(*rows, -1)  # (B, d), pairs (B, 2, d)
        logits = head(embeddings)  # (B, C)
        return ExtraBertOutput(
            loss=None if labels is None else head.loss(logits, labels),
            logits=logits,
            embeddings=embeddings if output_embeddings else None,
            pooling_weights=weights.view(*rows, seq) if output_pooling_weights and weights is not None else None,
        )

    def _check_shapes(
        self, head: nn.Module, input_ids: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Size, int]:
        *rows, seq = input_ids.shape
        if len(rows) != head.sentences_per_row or (len(rows) == 2 and rows[1] != 2):
            form = "(batch, 2, seq)" if head.sentences_per_row == 2 else "(batch, seq)"
            raise ValueError(f"`input_ids` must be {form} for a {type(head).__name__}, got {tuple(input_ids.shape)}.")
        if labels is not None and labels.shape != (rows[0],):
            raise ValueError(f"`labels` must be (batch,) = ({rows[0]},), got {tuple(labels.shape)}.")
        return torch.Size(rows), seq

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MultiplicativeAttentionPooling):
            init.zeros_(module.query)
            if module.weight is not None:
                init.eye_(module.weight)


def _is_own_code(loaded: PreTrainedModel | PreTrainedConfig) -> bool:
    """Whether the class is from a repository's code, which `trust_remote_code=True` runs."""
    return type(loaded).__module__.startswith(f"{TRANSFORMERS_DYNAMIC_MODULE_NAME}.")


def _name_no_code(backbone: PreTrainedModel) -> None:
    """Removes `auto_map` from the config of an installed encoder: no saved config names code that was not run."""
    if not _is_own_code(backbone):
        vars(backbone.config).pop("auto_map", None)


def drop_pooler(backbone: PreTrainedModel) -> None:
    """Removes the pooler if no head uses it and the encoder allows it: its parameters would get no gradient."""
    if "add_pooling_layer" in inspect.signature(type(backbone).__init__).parameters:
        backbone.pooler = None


ExtraBertPreTrainedModel.register_for_auto_class("AutoModel")  # `save_pretrained` copies the code of every subclass

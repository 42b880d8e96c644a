"""What all models share: the pretrained encoder, the way from token ids to logits, the output."""

import copy
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .adapter_files_extrabert import HUB_ARGUMENTS, AdapterFiles
from .configuration_extrabert import ExtraBertConfig
from .joining_extrabert import JoinedPairs
from .pipelines_extrabert import PIPELINE_FOR_HEAD, custom_pipelines
from .pooling_extrabert import MultiplicativeAttentionPooling
from .unpadding_extrabert import UNPADDABLE, UNPADDED, enable_unpadding, encode_unpadded

logger = logging.getLogger(__name__)


@dataclass
class ExtraBertOutput(ModelOutput):
    """
    What a model returns.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*):
            Mean cross-entropy, or mean squared error for the similarity head; present when `labels` are.
        logits (`torch.FloatTensor` of shape `(batch, num_labels)`):
            One logit a class; for the similarity head `(batch, 1)`, the score in the units of the labels.
        embeddings (`torch.FloatTensor` of shape `(batch, d)` or `(batch, 2, d)`, *optional*):
            The pooled sentence vectors, of a pair encoded jointly one for both, with `output_embeddings=True`.
        pooling_weights (`torch.FloatTensor` of shape `(batch, seq)` or `(batch, 2, seq)`, *optional*):
            The weight of each token in its sentence vector, with `output_pooling_weights=True`. Rows sum to 1.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    embeddings: torch.FloatTensor | None = None
    pooling_weights: torch.FloatTensor | None = None


class ExtraBertPreTrainedModel(PreTrainedModel):
    """
    An encoder; the subclasses add a pooling and a head for one task, or for each of several.

    The encoder sees no padding where it can do without, see [`why_padded`]; `model.unpad = False` or
    `model.set_attn_implementation("sdpa")` lets it. The results are the same but for rounding.
    """

    unpad = True
    head_kind: str  # of a model of one task
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
        config = copy.copy(config)  # so that one config can serve several models, each with its own labels
        # what loads it from saved code, beside what transformers adds on saving
        reference = f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"
        config.auto_map = {"AutoModelForSequenceClassification": reference}
        config.custom_pipelines = custom_pipelines(config.tasks or [PIPELINE_FOR_HEAD[self.head_kind]])
        super().__init__(config)
        # in the type of the rest: a config of an encoder saved in bfloat16 names that type
        self.backbone = AutoModel.from_config(config.backbone_config).to(torch.get_default_dtype())
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
        """As that of transformers, and from a repository that holds an adapter only: merged into its encoder."""
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
                How the encoder is fetched: `token`, `cache_dir`, ... as in `from_pretrained`.
            kwargs:
                Other arguments of `from_pretrained`, such as `dtype`.

        Raises:
            `ValueError`: if the encoder or the adapter lacks a weight of the model, or has another one.
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
        **config_fields: Any,
    ) -> "ExtraBertPreTrainedModel":
        """
        Builds a model on a pretrained encoder, in evaluation mode; pooling and head are fresh.

        Args:
            pretrained_model_name_or_path (`str`):
                Hub id or folder of any encoder that `AutoModel` loads.
            dtype (`torch.dtype` or `str`, *optional*):
                Type of all weights; `None` is float32.
            attn_implementation (`str`, *optional*):
                `"eager"`, `"sdpa"`, `"flash_attention_2"`, ... as in transformers.
            config_fields:
                Fields of [`ExtraBertConfig`], such as `pooling="mean"`.

        Raises:
            `ValueError`: if the checkpoint lacks weights of the encoder, or a field is not valid.
        """
        backbone, loading = AutoModel.from_pretrained(
            pretrained_model_name_or_path,
            dtype=dtype or torch.float32,
            attn_implementation=attn_implementation,
            output_loading_info=True,
        )
        missing = sorted(loading["missing_keys"])
        missing_encoder = [key for key in missing if not key.startswith("pooler.")]
        if missing_encoder:
            raise ValueError(
                f"{pretrained_model_name_or_path!r} must hold every weight of its encoder, "
                f"{len(missing_encoder)} are missing, the first {missing_encoder[0]!r}."
            )
        config = ExtraBertConfig(backbone_config=backbone.config, **config_fields)
        if missing and "pooler" in config.poolings:
            logger.warning("%s has no pooler weights: the pooler starts untrained.", pretrained_model_name_or_path)
        model = cls._from_config(config, dtype=backbone.dtype, attn_implementation=attn_implementation)
        if "pooler" not in config.poolings:
            drop_pooler(backbone)
        enable_unpadding(backbone)
        model._take_encoder(backbone)
        return model.eval()

    def _take_encoder(self, backbone: PreTrainedModel) -> None:
        self.backbone = backbone

    def _pool(
        self, pooling: nn.Module | None, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Sentences `(S, T)`, or pairs to be read jointly `(S, 2, T)`: vectors `(S, d)`, a weight for each token."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        joined = JoinedPairs.of(input_ids, attention_mask) if input_ids.dim() == 3 else None
        sequences = (input_ids, attention_mask) if joined is None else (joined.input_ids, joined.attention_mask)
        states, pooler_output = self._encode(*sequences, None if joined is None else joined.token_type_ids)
        if pooling is None:
            return pooler_output, None
        vectors, weights = pooling(states, sequences[1])
        return vectors, weights if joined is None else joined.separate(weights, input_ids.shape[-1])

    def _encode(
        self, input_ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None, *, may_unpad: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(S, T)` -> token states `(S, T, d)`, and the output of the encoder's pooler, `(S, d)`, where it has one."""
        knows_types = types is not None and getattr(self.backbone.config, "type_vocab_size", 0) > 1
        of_tokens = {"token_type_ids": types} if knows_types else {}
        may_unpad = (
            may_unpad and self.why_padded() is None and not torch.compiler.is_compiling()
        )  # a graph for each batch
        if may_unpad and mask.any():
            return encode_unpadded(self.backbone, input_ids, mask, **of_tokens)
        encoded = self.backbone(input_ids=input_ids, attention_mask=mask, **of_tokens)
        return encoded.last_hidden_state, encoded.get("pooler_output")

    def why_padded(self) -> str | None:
        """Says why the encoder sees padding, in a few words; `None` where it sees none."""
        if not self.unpad:
            return "as told"
        kind, attention = self.backbone.config.model_type, self.backbone.config._attn_implementation
        if kind not in UNPADDABLE:
            return f"a {kind} encoder can't do without"
        return None if attention == UNPADDED else f"as the attention {attention!r} has it"

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
        if not head.is_cross_encoder:  # each sentence for itself: pairs are (2B, T)
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


def drop_pooler(backbone: PreTrainedModel) -> None:
    """Takes away a pooler that no one reads and whose parameters get no gradient, where the encoder can go without."""
    if "add_pooling_layer" in inspect.signature(type(backbone).__init__).parameters:
        backbone.pooler = None

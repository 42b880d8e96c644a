"""Builds a tiny model of any `model_type` of transformers, with a tokenizer."""

import re

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import CONFIG_MAPPING, MODEL_MAPPING, PreTrainedConfig, PreTrainedTokenizerFast

WORDS = [f"word{index}" for index in range(60)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # the padding token is not the first, as in RoBERTa
VOCABULARY = len(SPECIAL) + len(WORDS)
MOST_PARAMETERS = 3_000_000

SIZES = (
    (r".*vocab_size.*", VOCABULARY),
    (r"(num|n)_(key_value|kv)_heads|num_kv_heads|multi_query_group_num", 2),
    (r".*(head_dim|head_size|d_head|d_kv|kv_channels|head_dim_.*|nope_head_dim|rope_head_dim|v_head_dim)", 8),
    (r".*(num_|n_|nb_)?(attention_|encoder_|decoder_|mamba_|linear_)*(heads?|num_heads|v_heads|k_heads)", 2),
    (r".*(layers?|depth|num_blocks|n_layers?|hidden_layers)", 2),
    (r".*(intermediate|ffn|ff|inner|mlp).*(size|dim|hidden_size)?", 32),
    (r"(.*_)?(hidden_size|d_model|n_embd|dim|embed_dim|emb_dim|embedding_size|hidden_dim|d_embed|attention_size)", 16),
    (r".*(max_position.*|n_positions|n_ctx|max_seq.*|context_length|max_source_positions)", 48),
    (r".*(num|n).*experts|.*expert_num", 4),
    (r".*(experts_per_tok|top_?k.*|moe_k)", 2),
    (r".*(n_group|topk_group|n_groups|num_groups|groups)", 1),
    (r".*_(rank|lora_dim)", 8),
    (r".*(d_state|state_size|ssm_state_size|time_step_rank)", 8),
    (r".*(index_n_heads)", 2),
    (r"(pad|bos|eos|unk|sep|cls|mask).*token_id", None),
    (r".*(block_size|chunk_size|window|attention_window)", 4),
)
"""Names of config fields -> their sizes; the first name that matches is used."""
OWN_FIELDS = {
    "codegen": {"rotary_dim": 4},
    "distilbert": {"hidden_dim": 32},
    "esm": {"vocab_size": VOCABULARY},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "layoutlmv3": {"coordinate_size": 2, "shape_size": 2, "visual_embed": False},
    "lilt": {"hidden_size": 24},
    "mobilebert": {"embedding_size": 16, "intra_bottleneck_size": 16},
    "mpt": {"max_seq_len": 256},
    "xmod": {"default_language": "en_XX"},
    "reformer": {"axial_pos_shape": [6, 8], "axial_pos_embds_dim": [8, 8], "attn_layers": ["local", "lsh"]},
    "longformer": {"attention_window": 4},
}
"""Fields of a model type that [`SIZES`] does not know."""
SPECIAL_IDS = {
    "bos_token_id": 0,
    "cls_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
    "unk_token_id": 3,
    "mask_token_id": 3,
}


def tiny_tokenizer(pad_token: str | None = "<pad>") -> PreTrainedTokenizerFast:
    """Makes a word-level tokenizer with the special tokens of RoBERTa and no maximum length."""
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(SPECIAL + WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token=pad_token,
    )


def tiny_fields(config: PreTrainedConfig) -> dict:
    """Returns small values for the sizes of a config and of its parts."""
    fields = {}
    for name, value in _own(config).items():
        if isinstance(value, PreTrainedConfig):
            fields[name] = tiny_fields(value) | {"model_type": value.model_type}
        elif name in SPECIAL_IDS:
            fields[name] = SPECIAL_IDS[name]
        elif isinstance(value, int) and not isinstance(value, bool):
            size = next((size for pattern, size in SIZES if re.fullmatch(pattern, name)), None)
            if size is not None and value > size:
                fields[name] = size
    return fields | OWN_FIELDS.get(config.model_type, {})


def _own(config: PreTrainedConfig) -> dict:
    return {name: value for name, value in vars(config).items() if not name.startswith("_")}


def tiny_config(model_type: str) -> PreTrainedConfig:
    """Makes a config of the type with small sizes."""
    config_class = CONFIG_MAPPING[model_type]
    return config_class(**tiny_fields(config_class()))


def tiny_model(model_type: str) -> torch.nn.Module | None:
    """Builds the model of [`tiny_config`] with random weights; `None` if a size is not known, so that it is large."""
    config = tiny_config(model_type)
    model_class = MODEL_MAPPING[type(config)]
    model_class = model_class[0] if isinstance(model_class, tuple) else model_class
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in model_class(config).parameters())
    if size > MOST_PARAMETERS:
        return None
    return model_class(tiny_config(model_type))

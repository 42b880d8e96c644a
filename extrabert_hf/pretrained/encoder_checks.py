"""Checks an encoder and its tokenizer against each other, before any row is tokenized or any weight is trained."""

import logging

import torch
from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedTokenizerBase

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.models import ExtraBertPreTrainedModel
from extrabert_hf.pretrained.remote_code import is_code_trusted

PROBE_TOKENS, SHORT_TOKENS = 13, 5
"""Lengths of the sentences of [`probe_encoder`]; prime, so that an encoder that needs multiples shows it."""
TOLERANCE = 1e-4
"""Largest difference of two equal token states, relative to the largest state; rounding in float32 stays below it."""

logger = logging.getLogger(__name__)


def check_config(config: PreTrainedConfig, path: str) -> None:
    """
    Raises [`InputError`] if a config is not that of a text encoder, before its weights are loaded.

    The config of an encoder with trusted code is not checked: its class is not one of transformers.
    """
    if is_code_trusted() and "AutoModel" in (getattr(config, "auto_map", None) or {}):
        return
    kind = f"the model type {config.model_type!r} in {path}"
    if type(config) not in MODEL_MAPPING:
        raise InputError(f"`model_name_or_path` must be an encoder that `AutoModel` loads, got {kind}.")
    try:
        model_class = MODEL_MAPPING[type(config)]
        model_class = model_class[0] if isinstance(model_class, tuple) else model_class
        given = model_class.main_input_name
    except (ValueError, ImportError) as error:  # transformers lacks its code, or its package is not installed
        raise InputError(
            f"`model_name_or_path` must be an encoder that `AutoModel` loads, got {kind}: {one_line(error)}"
        ) from error
    # the class is checked too: the config of an encoder that was saved alone has False
    if config.is_encoder_decoder or getattr(type(config), "is_encoder_decoder", False):
        raise InputError(
            f"`model_name_or_path` must be an encoder, got {kind}, an encoder and a decoder: "
            "use an encoder such as 'bert-base-uncased'."
        )
    if given != "input_ids":
        raise InputError(f"`model_name_or_path` must be a text encoder, got {kind}, an encoder of {given}.")
    if not isinstance(getattr(config, "hidden_size", None), int):
        raise InputError(
            f"`model_name_or_path` must be a text encoder with one `hidden_size`, got {kind}: for a model of text and "
            "images or sounds, save its text encoder alone and name that folder."
        )
    quantization = getattr(config, "quantization_config", None)
    if quantization is not None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise InputError(
            f"`model_name_or_path` must hold weights that can be trained, got weights quantized with {method} in "
            f"{path}: use the model before quantization."
        )


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase, model: ExtraBertPreTrainedModel, path: str
) -> PreTrainedTokenizerBase:
    """
    Checks the ids of a tokenizer against the embeddings of the encoder, and gives it a padding token if it has none.

    The padding token is the token of the encoder's `pad_token_id`, or else the first special token that exists. Any
    token can be used, because the attention mask hides padding.

    Raises:
        [`InputError`]: if the tokenizer is empty, has ids that the embeddings lack, or has no special token.
    """
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers builds an empty one if files are missing
        raise InputError(f"{path!r} must hold a tokenizer beside its encoder, got an empty vocabulary.")
    try:
        embeddings = model.backbone.get_input_embeddings()
    except NotImplementedError:  # an encoder of characters
        embeddings = None
    if isinstance(embeddings, torch.nn.Embedding):
        rows, vocabulary = embeddings.num_embeddings, tokenizer.get_vocab()
        token, largest = max(vocabulary.items(), key=lambda item: item[1])
        if largest >= rows:
            outside = sum(index >= rows for index in vocabulary.values())
            raise InputError(
                f"the tokenizer in {path} must have ids below {rows:,}, the number of the encoder's embeddings, got "
                f"{outside:,} tokens above, up to {token!r} with id {largest:,}: use the encoder's own tokenizer, or "
                f"save the encoder after `resize_token_embeddings({largest + 1})`."
            )
    if tokenizer.pad_token_id is None:
        own = getattr(model.backbone.config, "pad_token_id", None)
        named = tokenizer.convert_ids_to_tokens(own) if isinstance(own, int) and 0 <= own < len(tokenizer) else None
        others = (tokenizer.eos_token, tokenizer.sep_token, tokenizer.unk_token, tokenizer.bos_token)
        padding = next((token for token in (named, *others) if token is not None), None)
        if padding is None:
            raise InputError(f'the tokenizer in {path} must have a padding token: add "pad_token" to its config.')
        tokenizer.pad_token = padding
        logger.warning(
            "the tokenizer in %s has no padding token: %r is used, which the attention mask hides.", path, padding
        )
    return tokenizer


@torch.no_grad()
def probe_encoder(model: ExtraBertPreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str) -> None:
    """
    Encodes a few tokens, to see whether the encoder takes token ids and an attention mask, and what it does with them.

    If padding changes the states of a sentence, sets `encode_by_length` of the model's config. The cost is six forward
    passes over at most 26 tokens, one of them in training mode.

    Raises:
        [`InputError`]: if the encoder can't encode them, its states are not one finite vector for each token, or the
        pooling is `"cls"` and the first token attends to no other token.
    """
    backbone, kind = model.backbone, f"the {type(model.backbone).__name__} in {path}"
    special = set(tokenizer.all_special_ids)
    plain = [index for index in sorted(tokenizer.get_vocab().values()) if index not in special]
    tokens = torch.tensor([plain[step * len(plain) // PROBE_TOKENS] for step in range(PROBE_TOKENS)])  # (T,)
    mask = torch.ones(2, PROBE_TOKENS, dtype=torch.long)
    mask[0, SHORT_TOKENS:] = 0
    ids = tokens.expand(2, -1).masked_fill(mask == 0, tokenizer.pad_token_id)
    changed = ids.clone()
    changed[:, 1] = tokens[-1]
    short = ids[:1, :SHORT_TOKENS], mask[:1, :SHORT_TOKENS]
    shortest = tokenizer.num_special_tokens_to_add() + 1

    def encode(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        try:
            return backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        except Exception as error:  # code of any of hundreds of models
            raise InputError(
                f"`model_name_or_path` must be an encoder of token ids alone, got {kind}, which can't encode "
                f"{input_ids.shape[1]} tokens: {one_line(error)}"
            ) from error

    was_training = model.training
    try:
        with torch.random.fork_rng(devices=[]):
            backbone.train()
            encode(ids[1:], mask[1:])
            backbone.eval()
            states, other, alone, again = encode(ids, mask), encode(changed, mask), encode(*short), encode(*short)
            encode(ids[1:, :shortest], mask[1:, :shortest])
    finally:
        model.train(was_training)
    shape = (2, PROBE_TOKENS, model.config.hidden_size)
    if states.shape != shape:
        raise InputError(
            f"`model_name_or_path` must be an encoder with one state for each token, of shape {shape}, got "
            f"{tuple(states.shape)} from {kind}."
        )
    if not states.isfinite().all():
        raise InputError(f"`model_name_or_path` must be an encoder with finite states, got nan or inf from {kind}.")
    close = TOLERANCE * float(states.abs().max())
    if not torch.allclose(alone, again, rtol=0, atol=close):
        raise InputError(
            f"`model_name_or_path` must be an encoder with the same states for the same tokens, got {kind}, "
            "whose states are random in evaluation mode."
        )
    if not torch.allclose(states[:1, :SHORT_TOKENS], alone, rtol=0, atol=close):
        model.config.encode_by_length = True
        logger.warning(
            "padding changes the output of %s: it gets sentences of one length at a time, which is slower.", kind
        )
    if torch.equal(states[1, 0], other[1, 0]):
        backbone.config.use_cache = False  # keys and values are for generating text
        if "cls" in model.config.poolings:
            raise InputError(
                f"`pooling` must be 'mean', 'dot' or 'multiplicative' for {kind}: its first token attends to no other "
                "token, got 'cls'."
            )
        logger.warning("a token attends only to the tokens before it in %s: an encoder is often more accurate.", kind)

"""Which inference servers load an exported folder as it is, and why: facts from the sources of the servers."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

logger = logging.getLogger(__name__)

Answer = Literal["yes", "no", "not known"]

TEI, VLLM, LLAMA_CPP = "text-embeddings-inference", "vLLM", "llama.cpp"


@dataclass(frozen=True)
class Served:
    """
    Whether a server loads a folder and computes the same numbers.

    Args:
        server (`str`):
            Name of the server.
        answer (`str`):
            `"yes"`, `"no"`, or `"not known"` if the server's source was not checked for such an encoder.
        why (`str`):
            The reason, a clause without a full stop.
    """

    server: str
    answer: Answer
    why: str


EMBEDDING_ENCODERS = {
    TEI: ("bert", "camembert", "distilbert", "mpnet", "roberta", "xlm-roberta"),
    VLLM: ("bert", "modernbert", "roberta", "xlm-roberta"),
    LLAMA_CPP: ("bert", "camembert", "distilbert", "roberta", "xlm-roberta"),
}
"""
The types of encoders whose sentence vectors a server computes: `Config` in `backends/candle/src/lib.rs` of
text-embeddings-inference 1.9, `_EMBEDDING_MODELS` in `vllm/model_executor/models/registry.py`, and the classes of
`conversion/bert.py` of llama.cpp. text-embeddings-inference reads fields of ModernBERT's config.json that transformers
5 no longer writes, so ModernBERT is missing there.
"""

SERVED_POOLINGS = ("cls", "mean", "pooler")
NO_GATE = "learned attention needs a layer on each token with a gate"
NOT_SERVED = {
    TEI: {
        "multiplicative": f"{NO_GATE}, and the server knows only tanh and the identity in a dense layer",
        "dot": "it needs the Python code in this folder, which the server does not run; it would pool the first token",
    },
    VLLM: {
        "multiplicative": f"{NO_GATE}; the server leaves this layer out, with other vectors and without an error",
        "dot": "it needs the Python code in this folder, which the server does not run",
    },
    LLAMA_CPP: {
        "pooler": "the converter leaves out the layer of the pooler, with other vectors and without an error",
        "multiplicative": f"{NO_GATE}; the converter leaves out the gate, with other vectors and without an error",
        "dot": "it needs the Python code in this folder, which the converter does not read",
    },
}
"""Poolings that a server does not compute, and why."""


def servers_of_vectors(model_type: str, pooling: str, *, has_tokenizer_file: bool) -> list[Served]:
    """
    Returns which servers compute the sentence vectors of a folder for sentence-transformers.

    Args:
        model_type (`str`):
            Type of the encoder, such as `"bert"`.
        pooling (`str`):
            Pooling of the exported folder, one of those of [`ExtraBertConfig`].
        has_tokenizer_file (`bool`):
            Whether the folder has `tokenizer.json`, the file of a fast tokenizer.

    Returns:
        `list[Served]`: text-embeddings-inference, vLLM and llama.cpp, in this order.

    Example:
        >>> for served in servers_of_vectors("bert", "pooler", has_tokenizer_file=True):
        ...     print(served.server, served.answer)
        text-embeddings-inference yes
        vLLM yes
        llama.cpp no
    """
    reads = "1_Pooling/config.json" + (" and 2_Dense" if pooling == "pooler" else "")
    notes = {LLAMA_CPP: f"convert_hf_to_gguf.py reads {reads}; whether it knows the tokenizer was not checked"}
    found = []
    for server, encoders in EMBEDDING_ENCODERS.items():
        if pooling in NOT_SERVED[server]:
            found.append(Served(server, "no", NOT_SERVED[server][pooling]))
        elif model_type not in encoders:
            found.append(Served(server, "not known", f"its source was not checked for {model_type} encoders"))
        elif pooling not in SERVED_POOLINGS:
            found.append(Served(server, "not known", f"its source was not checked for {pooling} pooling"))
        elif server == TEI and not has_tokenizer_file:
            found.append(Served(server, "no", "it needs a fast tokenizer, with tokenizer.json"))
        else:
            found.append(Served(server, "yes", notes.get(server, f"it reads the pooling from {reads}")))
    return found


CLASSIFYING_ENCODERS = {
    TEI: ("bert", "camembert", "roberta", "xlm-roberta"),
    VLLM: ("bert", "roberta", "xlm-roberta"),
}
"""
The types of encoders whose `...ForSequenceClassification` a server runs with the same head: `ClassificationHead` in
`backends/candle/src/models/bert.rs` of text-embeddings-inference 1.9, and `_CROSS_ENCODER_MODELS` in
`vllm/model_executor/models/registry.py`.
"""


SCORE_NOTES = {
    TEI: "ask it for raw_scores: without, it returns the sigmoid of the score",
    VLLM: "problem_type in config.json makes it return the score as it is",
}
"""By server, what it does with the one logit of a model whose logit is a score."""


def servers_of_classes(model_type: str, *, is_pair: bool, has_scores: bool = False) -> list[Served]:
    """
    Returns which servers predict with a folder that holds a `...ForSequenceClassification`.

    Args:
        model_type (`str`):
            Type of the encoder, such as `"bert"`.
        is_pair (`bool`):
            Whether the model reads pairs of sentences.
        has_scores (`bool`, defaults to `False`):
            Whether the logit of the model is a score that no sigmoid is taken of.

    Returns:
        `list[Served]`: text-embeddings-inference, vLLM and llama.cpp, in this order.
    """
    found = []
    for server, encoders in CLASSIFYING_ENCODERS.items():
        why = "it reads the stock class and the tokenizer" + (f"; {SCORE_NOTES[server]}" if has_scores else "")
        if model_type in encoders:
            found.append(Served(server, "yes", why))
        else:
            found.append(Served(server, "not known", f"its source was not checked for {model_type} classifiers"))
    if model_type == "bert":
        llama_cpp = Served(LLAMA_CPP, "no", "the converter leaves out the layer of the pooler")
    elif is_pair:
        llama_cpp = Served(LLAMA_CPP, "no", "its reranker joins a pair with two separators, this model with one")
    else:
        llama_cpp = Served(LLAMA_CPP, "not known", "its source was not checked for single sentences")
    return [*found, llama_cpp]


def log_servers(servers: Iterable[Served]) -> None:
    """Logs one line for each server."""
    for served in servers:
        logger.info("served by %s: %s, %s", served.server, served.answer, served.why)

"""Who is measured at scoring pairs: our models as `predict.py` uses them, and `sentence-transformers`."""

from collections.abc import Callable
from typing import Any

from extrabert_hf.benchmark.contenders import MAX_LENGTH, Rows, Setting
from extrabert_hf.evaluation.scoring import predict_logits
from extrabert_hf.model_names import resolve_model_name
from extrabert_hf.pretrained import build_model
from extrabert_hf.tasks import PAPER_TASKS, SENTENCE_COLUMNS


def our_scoring(setting: Setting, rows: Rows) -> Callable[[], Any]:
    """
    Sets up the scores of pairs by the cosine of their means, which is what the peer gives, times 5.

    Args:
        setting ([`Setting`]):
            What the contenders share.
        rows (`Mapping[str, Dataset]`):
            The pairs, of one task.

    Returns:
        `Callable`: scores all pairs once.
    """
    (pairs,) = rows.values()
    model, tokenizer = build_model(setting.model_name_or_path, PAPER_TASKS["sts"], pooling="mean")
    tokenizer.model_max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    columns = [pairs[name][:] for name in SENTENCE_COLUMNS]
    return lambda: predict_logits(model, tokenizer, *columns, bf16=setting.bf16)[:, 0]


def sentence_transformers_scoring(setting: Setting, rows: Rows) -> Callable[[], Any]:
    """As [`our_scoring`], by `encode` of each column, in its own batches of 32, and the cosine of each pair."""
    from sentence_transformers import SentenceTransformer, util

    (pairs,) = rows.values()
    model = SentenceTransformer(resolve_model_name(setting.model_name_or_path))
    model.max_seq_length = min(MAX_LENGTH, model.max_seq_length)
    first, second = (pairs[name][:] for name in SENTENCE_COLUMNS)

    def score() -> Any:
        vectors = (model.encode(column, convert_to_tensor=True, show_progress_bar=False) for column in (first, second))
        return util.pairwise_cos_sim(*vectors).cpu()

    return score

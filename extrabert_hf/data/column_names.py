"""Reads the name of a column: the column is a label, a sentence, a sentence of a pair, an id, or none of these."""

import re
import unicodedata
from collections.abc import Sequence

from extrabert_hf.errors import shorten

LABELS = ("label", "labels", "gold_label", "class", "target", "category", "classe", "klasse", "kategorie")
"""Names of a label column that come before [`LABELS_OF_TASKS`]."""
LABELS_OF_TASKS = (
    *("sentiment", "polarity", "emotion", "intent", "topic", "stance", "rating", "ratings", "stars", "star_rating"),
    *("score", "similarity", "similarity_score", "relatedness", "relatedness_score", "relevance", "gold_score"),
    *(
        "is_duplicate",
        "duplicate",
        "is_paraphrase",
        "paraphrase",
        "relation",
        "entailment",
        "entailment_judgment",
        "is_spam",
        "spam",
    ),
    *("toxic", "is_toxic", "airline_sentiment", "overall", "verdict", "judgment", "sterne", "gold", "y"),
)
"""Further names of a label column, from public data sets. A file with two of these names has no certain label."""
SCORES = (
    *("score", "similarity", "similarity_score", "relatedness", "relatedness_score", "relevance", "rating"),
    *("gold_score", "stars", "similaridade", "ähnlichkeit"),
)
"""Names of a label column of pairs whose whole numbers are scores."""
CLASSES = (
    *("class", "category", "gold_label", "relation", "entailment", "verdict", "is_duplicate", "is_paraphrase"),
    *("duplicate", "paraphrase", "klasse", "kategorie"),
)
"""Names of a label column of pairs whose whole numbers are classes."""
SENTENCES = (
    *("sentence", "text", "review", "review_text", "review_body", "reviews", "comment", "comment_text", "comments"),
    *("tweet", "tweet_text", "message", "sms", "utterance", "document", "content", "body", "phrase", "satz"),
    *("kommentar", "texte", "texto", "testo"),
)
"""Names of the sentence of a row with one sentence."""
OTHERS = (
    *("author", "user", "username", "user_name", "name", "source", "language", "lang", "split", "country", "city"),
    *("location", "product", "brand", "explanation", "reason", "rationale", "notes", "annotator", "file"),
    *("filename", "url", "link", "date", "time", "timestamp", "year", "month", "length", "index", "nr", "no"),
    *("idx", "guid", "uuid", "pairid", "confidence", "worker"),
)
"""Names of columns that are neither a sentence nor a label unless a flag names them."""
PAIRS = (
    *(("premise", "hypothesis"), ("query", "document"), ("query", "passage"), ("query", "answer"), ("query", "doc")),
    *(("query", "text"), ("query", "title"), ("query", "response"), ("question", "sentence"), ("question", "passage")),
    *(("question", "context"), ("question", "answer"), ("claim", "evidence"), ("context", "response")),
    *(("text", "text_pair"), ("sentence", "paraphrase"), ("reference", "candidate"), ("original", "paraphrase")),
    *(("source", "target"), ("anchor", "positive"), ("sentence", "question"), ("prompt", "response")),
)
"""Names of the two sentences of a pair."""
COLUMNS_SHOWN = 6
"""Largest number of columns that a message lists."""
_ENDS = (("1", "2"), ("a", "b"), ("0", "1"), ("left", "right"), ("first", "second"), ("one", "two"))
"""Ends of the names of a pair, such as `text_a` and `text_b`."""


def plain_name(name: str) -> str:
    """
    Returns the words of a column name in lower case.

    Example:
        >>> plain_name(' "Review Text"'), plain_name("isDuplicate"), plain_name("Sentence1")
        ('review_text', 'is_duplicate', 'sentence1')
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", unicodedata.normalize("NFKC", name))
    return re.sub(r"[\W_]+", "_", words).strip("_").casefold()


def is_other(name: str) -> bool:
    """Whether a column with this name is neither a sentence nor a label unless a flag names it."""
    plain = plain_name(name)
    plain = plain.rstrip("0123456789_") or plain
    return (
        plain in ("", "id", *OTHERS)
        or plain.startswith("unnamed")
        or re.fullmatch(r".*_(id|date|time|url|parse|len|length)", plain) is not None
    )


def pairs_of_names(names: Sequence[str]) -> list[tuple[str, str]]:
    """
    Returns the pairs of columns whose names are those of two sentences of a pair, the surest first.

    Example:
        >>> pairs_of_names(["Question 1", "Question 2", "Answer"])
        [('Question 1', 'Question 2')]
    """
    by_plain = {plain_name(name): name for name in reversed(names)}
    found = []
    for first, second in _ENDS:
        for plain, name in reversed(by_plain.items()):
            stem = plain.removesuffix(first)
            if stem != plain and (stem or len(first) > 1) and f"{stem}{second}" in by_plain:
                found.append((name, by_plain[f"{stem}{second}"]))
    return found + [(by_plain[first], by_plain[second]) for first, second in PAIRS if {first, second} <= set(by_plain)]


def third_of_names(pair: tuple[str, str], names: Sequence[str]) -> str | None:
    """
    Returns the column whose name continues those of a pair.

    Example:
        >>> third_of_names(("text1", "text2"), ["text1", "text2", "text3"])
        'text3'
    """
    plain = plain_name(pair[1])
    wanted = {"2": "3", "b": "c", "1": "2"}.get(plain[-1:], "")
    return next((name for name in names if wanted and plain_name(name) == plain[:-1] + wanted), None)


def listed(names: Sequence[str]) -> str:
    """
    Lists names of columns in a message.

    Example:
        >>> listed(["text", "label"]), listed(list("abcdefgh"))
        ("'text', 'label'", "'a', 'b', 'c', 'd', 'e', 'f' and 2 others")
    """
    shown = ", ".join(repr(shorten(name, 40)) for name in names[:COLUMNS_SHOWN])
    return shown + (f" and {len(names) - COLUMNS_SHOWN:,} others" if len(names) > COLUMNS_SHOWN else "")

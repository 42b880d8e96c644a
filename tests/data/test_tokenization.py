import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from extrabert_hf.data.tokenization import tokenize_dataset, tokenize_sentences


@pytest.fixture
def tokenizer(tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.model_max_length = 6
    return tokenizer


def test_sentences_get_special_tokens_and_are_cut_at_the_longest_length(tokenizer):
    short, long = tokenize_sentences(tokenizer, ["A dog", "A dog and a cat and a bird and a film"])
    assert (short[0], short[-1]) == (long[0], long[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert (len(short), len(long)) == (4, 6)


def test_each_sentence_of_a_pair_stands_alone(tokenizer):
    rows = Dataset.from_dict({"sentence1": ["A dog"], "sentence2": ["A film ."], "label": [2.5], "id": ["x"]})
    row = tokenize_dataset(rows, tokenizer)[0]
    assert row == {"input_ids": tokenize_sentences(tokenizer, ["A dog", "A film ."]), "labels": 2.5, "length": 5}


def test_an_unlabelled_sentence_has_no_labels(tokenizer):
    rows = tokenize_dataset(Dataset.from_dict({"sentence1": ["A dog", "A"], "id": ["x", "y"]}), tokenizer)
    assert sorted(rows.column_names) == ["input_ids", "length"]
    assert rows["length"][:] == [4, 3]

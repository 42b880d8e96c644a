import torch

from extrabert_hf.data.collators import DataCollatorForSentences


def test_pairs_become_one_tensor_with_the_first_sentence_first():
    rows = [{"input_ids": [[1, 2], [3]], "labels": 0}, {"input_ids": [[4], [5, 6, 7]], "labels": 1}]
    batch = DataCollatorForSentences(pad_token_id=9)(rows)
    assert batch["input_ids"].tolist() == [[[1, 2, 9], [3, 9, 9]], [[4, 9, 9], [5, 6, 7]]]
    assert batch["attention_mask"].tolist() == [[[1, 1, 0], [1, 0, 0]], [[1, 0, 0], [1, 1, 1]]]
    assert batch["labels"].tolist() == [0, 1]


def test_single_sentences_make_a_matrix():
    batch = DataCollatorForSentences(pad_token_id=0)([{"input_ids": [1, 2]}, {"input_ids": [3]}])
    assert batch["input_ids"].tolist() == [[1, 2], [3, 0]]
    assert set(batch) == {"input_ids", "attention_mask"}


def test_a_class_is_an_integer_and_a_score_a_float():
    collate = DataCollatorForSentences(pad_token_id=0)
    assert collate([{"input_ids": [1], "labels": 2}])["labels"].dtype == torch.int64
    assert collate([{"input_ids": [1], "labels": 2.5}])["labels"].dtype == torch.float32


def test_a_real_token_that_equals_the_padding_is_not_masked():
    batch = DataCollatorForSentences(pad_token_id=0)([{"input_ids": [0, 5]}, {"input_ids": [0, 5, 6]}])
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_width_is_rounded_up_on_request():
    batch = DataCollatorForSentences(pad_token_id=7, pad_to_multiple_of=8)([{"input_ids": [[1] * 9, [2]]}])
    assert batch["input_ids"].shape == (1, 2, 16)
    assert batch["input_ids"][0, 0, 9:].eq(7).all()
    assert batch["attention_mask"].sum().item() == 10

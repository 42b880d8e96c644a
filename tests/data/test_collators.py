import pytest
import torch

from extrabert_hf.data.collators import DataCollatorForMultiTask, DataCollatorForSentences
from extrabert_hf.errors import InputError


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


SST = [{"input_ids": [1, 2, 3], "labels": 4}, {"input_ids": [5], "labels": 0}, {"input_ids": [6, 7], "labels": 1}]
STS = [{"input_ids": [[1], [2, 3]], "labels": 2.5}, {"input_ids": [[4, 5], [6]], "labels": 0.0}]


def test_a_multitask_batch_is_each_tasks_own_batch():
    collator = DataCollatorForSentences(pad_token_id=0)
    items = [{"sts": STS[:1], "sst": SST[:2]}, {"sst": SST[2:], "sts": STS[1:]}]
    batch = DataCollatorForMultiTask(collator)(items)
    assert list(batch) == ["sts", "sst"]
    for task, rows in {"sst": SST, "sts": STS}.items():
        expected = collator(rows)
        assert batch[task].keys() == expected.keys()
        assert all(torch.equal(batch[task][name], expected[name]) for name in expected)


def test_items_of_different_tasks_do_not_make_a_batch():
    collate = DataCollatorForMultiTask(DataCollatorForSentences(pad_token_id=0))
    with pytest.raises(InputError, match=r"`items` must all hold the same tasks, got \['sst'\] and \['sts'\]"):
        collate([{"sst": SST}, {"sts": STS}])
    with pytest.raises(InputError, match="same tasks"):
        collate([{"sst": SST}, {"sst": SST, "sts": STS}])

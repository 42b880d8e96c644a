from datasets import Dataset

from extrabert_hf.benchmark.memory import longest_rows

ROWS = Dataset.from_dict({"sentence1": ["a", "a b c", "a b"], "sentence2": ["a", "a", "a b c d"], "label": [1, 2, 3]})


def test_the_longest_rows_by_either_sentence_come_again_every_step():
    assert longest_rows(ROWS, 2)["label"] == [3, 2] * 3
    assert longest_rows(ROWS.remove_columns("sentence2"), 1)["label"] == [2] * 3


def test_memory_is_what_training_takes_above_the_loaded_model(tiny_encoder, tmp_path):
    """40 MiB held in a forward are seen, and freed ones at the time of loading are not."""

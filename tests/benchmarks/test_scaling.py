import time

from datasets import Dataset

from benchmarks.measures import measure_scaling, with_words

ROWS = Dataset.from_dict({"sentence1": ["a b c", "d"], "sentence2": ["e f", "g h i j k"], "label": [0, 1]})


def test_sentences_get_as_many_words():
    four = with_words(ROWS, 4)
    assert four["sentence1"][:] == ["a b c a", "d d d d"]
    assert four["sentence2"][:] == ["e f e f", "g h i j"]


def test_each_size_is_timed_for_each_contender():
    def contender(rows):
        words = sum(len(sentence.split()) for sentence in rows["sts"]["sentence1"])
        return lambda: time.sleep(words / 1e4)

    many = Dataset.from_dict({"sentence1": ["a b"] * 40, "sentence2": ["c"] * 40})
    sizes = measure_scaling({"ours": contender, "peer": contender}, {"sts": many})
    assert [entry["rows"] for entry in sizes["rows"]] == [10, 20, 40]
    assert [entry["words"] for entry in sizes["words"]] == [8, 16, 32, 64]
    for entry, due in [(sizes["rows"][2], 80 / 1e4), (sizes["words"][3], 640 / 1e4)]:
        assert entry["ours"] >= due and entry["peer"] >= due

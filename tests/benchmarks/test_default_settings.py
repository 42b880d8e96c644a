import random

import pytest

from benchmarks.default_settings import CONFIGS, predict_held_out, table
from benchmarks.own_data import event_rows, review_rows, sentences_of, words_of


@pytest.mark.parametrize("make", [event_rows, review_rows])
def test_rows_from_templates_depend_on_the_seed_alone_and_none_is_twice(make):
    first, again, other = (make(300, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again != other and len({str(row) for row in first}) == 300


def test_a_docstring_gives_its_sentences_without_code_markup_and_the_name_of_the_package():
    prose = "Returns the `sum` of\n    all NumPy values. Too short. It has *five* words here."
    docstring = f"{prose}\n\nParameters\n----------\nx : int."
    assert list(sentences_of(docstring, "numpy")) == ["Returns the sum of all values.", "It has five words here."]
    assert words_of("get_HTTPResponse2") == "get http response 2"


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
def test_a_setting_is_scored_on_the_held_out_rows_at_the_last_step(tiny_encoder, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"a film number {n},{'ab'[n % 2]}\n" for n in range(20)))
    words = ["--config", str(CONFIGS / "default.yaml"), "--model_name_or_path", tiny_encoder, "--max_length", "9"]
    words += ["--data", str(path), "--dev_data", str(path), "--class_names", "auto", "--bf16", "false"]
    run = predict_held_out("sst", [*words, "--max_steps", "2"]) | {"metric": "accuracy"}
    assert sorted(run["labels"]) == [0.0] * 10 + [1.0] * 10 and set(run["predictions"]) <= {0.0, 1.0}
    right = {"metric": "accuracy", "labels": run["labels"], "predictions": run["labels"]}
    lines = table({"films/default/1": right, "films/paper/1": run, "other/paper/1": run}, ["default", "paper"])
    assert lines.splitlines()[2].startswith("| films | 1.000 | ") and "other" not in lines

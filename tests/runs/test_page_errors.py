import dataclasses

import numpy as np

from extrabert_hf.runs.page import error_table


def test_rows_of_one_run_are_its_errors_the_worst_first(answers_of):
    answers = answers_of("sst")
    table = error_table({"run": answers}, names_runs=False)
    assert table["wrong"] == len(answers.worst) == len(table["rows"])
    assert table["answered"] == ["answer"] and table["size"] == "confidence"
    for cells, row in zip(table["rows"], answers.worst, strict=True):
        names = answers.task.class_names
        assert (cells["label"], cells["answers"]) == (names[answers.labels[row]], [names[answers.predictions[row]]])
        assert cells["size"] == f"{answers.errors[row]:.3f}"
        assert [token for token, *_ in cells["coloured"][0]] == answers.explanations[row].tokens[0]
        assert cells["texts"] == answers.sentences[row] and cells["coloured_by"] is None


def test_rows_of_two_runs_are_those_that_either_got_wrong(answers_of):
    first = answers_of("sts")
    right = dataclasses.replace(first, logits=first.labels[:, np.newaxis], explanations={})
    half = np.where(np.arange(24) < 12, first.labels, first.predictions)
    second = dataclasses.replace(first, logits=half[:, np.newaxis])
    table = error_table({"right": right, "half": second}, names_runs=True)
    assert table["wrong"] == 12 and table["answered"] == ["answer of right", "answer of half"]
    worst = second.worst[0]
    cells = table["rows"][0]
    assert cells["answers"] == [f"{first.labels[worst]:.2f}", f"{first.predictions[worst]:.2f}"]
    assert {bool(row["coloured"]): row["coloured_by"] for row in table["rows"]}[True] == "half"

"""Metrics that others wrote: a file that is malformed ends in one line, and no name in it leads out of the folder."""

import copy
import json
import random
from functools import cache

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.scores import baseline_warning, summarize
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.report import _names, _subtitle
from extrabert_hf.runs.run_metrics import RunMetrics
from tests.runs.test_run_metrics import some_metrics

VALUES = [None, True, -1, 0.5, float("inf"), 10**400, "", "x", "../x", "\ud800", [], ["x"], [1.0], {}, {"x": 1}, [[]]]


@cache
def valid_text():
    return json.dumps(some_metrics(1).to_dict())


def valid_record():
    return json.loads(valid_text())


def places(value, path=()):
    """Every path of keys and indices into a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield (*path, key)
        yield from places(each, (*path, key))


def mutated(record, generator):
    """Replaces, removes or renames one to three values of a record."""
    record = copy.deepcopy(record)
    for _ in range(generator.randint(1, 3)):
        *path, key = generator.choice(list(places(record)))
        parent = record
        for step in path:
            parent = parent[step]
        kind = generator.choice(["replace", "replace", "remove", "rename"])
        if kind == "replace":
            parent[key] = generator.choice(VALUES)
        elif kind == "rename" and isinstance(parent, dict):
            parent[generator.choice(["x", "../x", "a/b", ""])] = parent.pop(key)
        else:
            del parent[key]
    return record


def use(metrics, folder):
    """Calls what a report, a comparison and a card compute with metrics."""
    json.dumps(metrics.shared().shared().to_dict())
    _subtitle(metrics)
    for name, entry in metrics.tasks.items():
        _names(entry)
        for split, scores in entry.scores.items():
            summarize(f"{name} {split}", scores, entry.task)
            baseline_warning(name, entry.task, scores)
            for path in (folder.scored_file(name, split), folder.best_of(name)):
                assert path.resolve().is_relative_to(folder.path.resolve())


def test_mutated_metrics_load_and_are_usable_or_end_in_one_line(tmp_path):
    generator, record, folder = random.Random(0), valid_record(), RunFolder(tmp_path)
    refused = 0
    for _ in range(200):
        changed = mutated(record, generator)
        try:
            folder.metrics_file.write_text(json.dumps(changed))
            metrics = folder.read_metrics()
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(folder.metrics_file) in str(error) and len(str(error)) < 600
        else:
            use(metrics, folder)
    assert 80 < refused < 200  # neither everything nor nothing


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "null", "[]", "3", '"x"', "{", "{}", '{"tasks": []}', '{"tasks": {}}', '{"version": true}'),
        *("[" * 100_000, "1" * 5000),
    ],
)
def test_a_file_that_is_no_record_ends_in_one_line(text, tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics_file.write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json") as caught:
        folder.read_metrics()
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_utf_8_end_in_one_line(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics_file.write_bytes(b'{"tasks": "\xff"}')
    with pytest.raises(InputError, match=r"metrics\.json"):
        folder.read_metrics()


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", "..", "/tmp/x", "para"])
def test_a_task_has_its_own_name_as_key(name):
    record = valid_record()
    record["tasks"][name] = record["tasks"].pop("sst")
    with pytest.raises(InputError, match="`tasks` must have the name of each task as a key"):
        RunMetrics.from_dict(record)


def test_a_split_is_not_a_path():
    record = valid_record()
    record["tasks"]["sst"]["scores"]["../../x"] = record["tasks"]["sst"]["scores"]["dev"]
    with pytest.raises(InputError, match=r"`scores` must be of train, dev, test, got '\.\./\.\./x'"):
        RunMetrics.from_dict(record)


def test_a_number_that_is_not_finite_is_written_as_null(tmp_path):
    metrics, folder = some_metrics(0), RunFolder(tmp_path)
    metrics.training.measures["train_loss"] = float("nan")
    folder.write_metrics(metrics)
    json.loads(folder.metrics_file.read_text(), parse_constant=pytest.fail)
    assert folder.read_metrics().training.measures["train_loss"] is None

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from extrabert_hf.data.loading import load_task_data
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

GLUE_CARD = """---
configs:
- config_name: qqp
  data_files:
  - {split: train, path: qqp/train-*}
  - {split: validation, path: qqp/validation-*}
  - {split: test, path: qqp/test-*}
- config_name: other
  data_files: other.csv
---
"""

# Loads each (task, data, config) of argv and prints the rows, or the error, as one line of JSON; "offline" ends the
# connection for those after it, as HF_HUB_OFFLINE=1 does for a whole program.
LOAD = """
import json, sys
import datasets, huggingface_hub
from extrabert_hf.data.loading import load_task_data
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS
for task, data, config in json.loads(sys.argv[1]):
    if task == "offline":
        huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        continue
    try:
        loaded = load_task_data(PAPER_TASKS[task], data, dataset_config=config)
    except InputError as error:
        print(json.dumps(str(error)))
    else:
        print(json.dumps([{name: split.to_dict() for name, split in loaded.splits.items()}, loaded.notices]))
"""


def glue_split(split, count, names=("not_duplicate", "duplicate")):
    label = [-1] * count if split == "test" else [i % 2 for i in range(count)]
    texts = {
        "question1": [f"{split} a{i}" for i in range(count)],
        "question2": [f"{split} b{i}" for i in range(count)],
    }
    types = {"question1": Value("string"), "question2": Value("string"), "label": ClassLabel(names=names)}
    features = Features({**types, "idx": Value("int32")})
    return Dataset.from_dict({**texts, "label": label, "idx": list(range(count))}, features=features)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Starts a small Hub on the loopback interface and returns its address."""
    root = tmp_path_factory.mktemp("hub")
    for name, class_names in (("glue", ("not_duplicate", "duplicate")), ("turned", ("paraphrase", "not paraphrase"))):
        for split, count in (("train", 6), ("validation", 4), ("test", 3)):
            glue_split(split, count, class_names).to_parquet(root / "tester" / name / "qqp" / f"{split}-00000.parquet")
        (root / "tester" / name / "README.md").write_text(GLUE_CARD)
        (root / "tester" / name / "other.csv").write_text("text\nx\n")
    (root / "tester" / "flat").mkdir()
    (root / "tester" / "flat" / "train.csv").write_text("text,label\n" + "good,4\nbad,0\n" * 5)
    (root / "tester" / "eval").mkdir()
    (root / "tester" / "eval" / "test.csv").write_text("text,label\ngood,4\n")
    (root / "tester" / "broken").mkdir()
    (root / "tester" / "broken" / "train.jsonl").write_text('{"text": "good", "label": 4}\n{"text": \n')
    command = [sys.executable, Path(__file__).with_name("hub_server.py"), root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.kill()


@pytest.fixture(scope="module")
def loaded(hub, tmp_path_factory):
    wanted = {
        "glue": ("para", "tester/glue", "qqp"),
        "turned": ("para", "tester/turned", "qqp"),
        "flat": ("sst", "tester/flat", None),
        "eval": ("sst", "tester/eval", None),
        "missing": ("para", "tester/none", None),
        "config": ("para", "tester/glue", "sst2"),
        "no config": ("para", "tester/glue", None),
        "broken": ("sst", "tester/broken", None),
        "name": ("para", "a name", None),
        "offline": ("offline", None, None),
        "cached": ("para", "tester/glue", "qqp"),
        "not cached": ("para", "tester/never", None),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    home = str(tmp_path_factory.mktemp("hub_home"))
    env = {**inherited, "HF_ENDPOINT": hub, "HF_HOME": home, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", LOAD, json.dumps(list(wanted.values()))]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    del wanted["offline"]
    return dict(zip(wanted, map(json.loads, run.stdout.splitlines()), strict=True))


@pytest.mark.launch
def test_a_glue_data_set_gets_canonical_splits_and_columns(loaded):
    splits, notices = loaded["glue"]
    assert {name: split["id"] for name, split in splits.items()} == {
        **{"train": ["0", "1", "2", "3", "4", "5"], "dev": ["0", "1", "2", "3"], "test": ["0", "1", "2"]},
    }
    assert splits["dev"]["sentence1"][1] == "validation a1"
    assert splits["dev"]["sentence2"][1] == "validation b1"
    assert splits["train"]["label"] == [0, 1, 0, 1, 0, 1]
    assert "label" not in splits["test"]
    assert "tester/glue[test] (no labels): " in notices[0]


@pytest.mark.launch
def test_classes_of_the_same_names_are_taken_by_name(loaded):
    splits, _ = loaded["turned"]
    assert splits["train"]["label"] == [1, 0, 1, 0, 1, 0]
    assert "label" not in splits["test"]


@pytest.mark.launch
def test_dev_is_cut_off_where_the_hub_has_none(loaded):
    splits, notices = loaded["flat"]
    assert {name: len(split["id"]) for name, split in splits.items()} == {"train": 9, "dev": 1}
    assert notices[-1] == "1 of 10 rows of tester/flat[train] became the dev split (seed 42)"


@pytest.mark.launch
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("eval", "`data` must have a train split, got none: tester/eval has the splits test."),
        ("missing", "got 'tester/none': Dataset 'tester/none' doesn't exist on the Hub or cannot be accessed."),
        ("config", "got 'tester/glue': BuilderConfig 'sst2' not found. Available: ['qqp', 'other']"),
        ("no config", "got 'tester/glue': Config name is missing. Please pick one among the available configs"),
        ("broken", "got 'tester/broken': An error occurred while generating the dataset: JSON parse error"),
        ("name", "`data` must be 'sample', a folder, a file or a Hub id, got 'a name': "),
    ],
)
def test_what_the_hub_does_not_have_is_an_error_of_one_line(loaded, name, message):
    assert message in loaded[name]
    assert "\n" not in loaded[name]


@pytest.mark.launch
def test_a_fetched_data_set_is_there_without_the_hub(loaded):
    assert loaded["cached"] == loaded["glue"]
    assert loaded["not cached"].startswith("The data set 'tester/never' cannot be fetched: http://127.0.0.1:")


def test_an_unreachable_hub_is_an_error_in_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # a port without a server
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    start = time.monotonic()
    with pytest.raises(InputError) as error:
        load_task_data(PAPER_TASKS["para"], None)
    assert str(error.value) == (
        "The data set 'nyu-mll/glue' cannot be fetched: http://127.0.0.1:9 does not answer or offline mode is on. "
        "Use `--data sample`, or a folder or file of your own."
    )
    assert time.monotonic() - start < 5  # the client alone would try for 23 seconds

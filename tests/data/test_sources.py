from dataclasses import replace
from pathlib import Path

import pytest

from extrabert_hf.data.sources import SourceDescription, describe_source, find_sources, paper_tasks_in
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

SST, PARA, STS = PAPER_TASKS.values()


def test_a_source_can_be_read_again_and_is_not_read_before(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("a\tb\nc\n")
    source = find_sources(STS, str(path))["train"]
    first = list(source.read())
    assert len(first) == 2 and list(source.read()) == first
    path.write_text("d\te\n")
    assert list(source.read()) == [(1, {"sentence1": "d", "sentence2": "e"})]


@pytest.mark.parametrize(
    ("task", "data", "config", "expected"),
    [
        (SST, "sample", None, SourceDescription("bundled sample of extrabert_hf")),
        (SST, "{tmp}/course", None, SourceDescription("CS224N default project, ids-sst-train.csv")),
        (STS, "{tmp}/course", None, SourceDescription("course (local files)")),
        (SST, "{tmp}/course/ids-sst-train.csv", None, SourceDescription("ids-sst-train.csv (local files)")),
        (SST, "gone/rows.csv", None, SourceDescription("rows.csv (local files)")),
        (SST, None, None, SourceDescription("SetFit/sst5", "SetFit/sst5")),
        (STS, None, None, SourceDescription("nyu-mll/glue (stsb)", "nyu-mll/glue", "stsb")),
        (STS, "nyu-mll/glue", "mrpc", SourceDescription("nyu-mll/glue (mrpc)", "nyu-mll/glue", "mrpc")),
        (STS, "me/pairs", None, SourceDescription("me/pairs", "me/pairs")),
    ],
)
def test_a_description_names_the_data_and_shows_no_path(tmp_path, task, data, config, expected):
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "ids-sst-train.csv").touch()
    data = data and data.format(tmp=tmp_path)
    assert describe_source(task, data, config) == expected
    assert str(tmp_path) not in str(describe_source(task, data, config))


def test_the_papers_tasks_in_a_folder_are_those_with_a_train_file(tmp_path):
    (tmp_path / "quora-train.csv").touch()
    (tmp_path / "ids-sst-dev.csv").touch()
    assert paper_tasks_in(str(tmp_path)) == ["para"]
    assert paper_tasks_in("sample") == ["sst", "para", "sts"]


def test_a_hub_id_with_a_version_is_no_path():
    task = replace(STS, hub_dataset=None)
    assert describe_source(task, "me/pairs-v1.0").hub_id == "me/pairs-v1.0"


@pytest.mark.parametrize("typed", ["ticket.csv", "tickets", "ticktes.csv"])
def test_the_file_with_the_nearest_name_is_proposed(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("extrabert_hf.data.sources.hub_is_reachable", lambda: False)
    for name in ("tickets.csv", "stars.csv", "notes.docx"):
        Path(name).write_text("text,label\n")
    with pytest.raises(InputError, match=r"Did you mean 'tickets\.csv'\?"):
        find_sources(replace(SST, name="own"), typed)

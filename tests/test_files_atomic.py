import json
import os
import threading

import pytest
from matplotlib.figure import Figure

from extrabert_hf.files import atomic_path, write_figure, write_json, write_text


def test_a_reader_never_sees_a_half_written_file(tmp_path):
    path = tmp_path / "scores.json"
    values = [{"value": value, "filler": "x" * 200_000} for value in range(2)]
    write_json(path, values[0])
    done = threading.Event()

    def write():
        for number in range(40):
            write_json(path, values[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set():
        assert json.loads(path.read_text()) in values
        seen += 1
    writer.join()
    assert seen > 1


def test_a_crash_while_writing_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "new folder" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    path, seen = tmp_path / "file.txt", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, path.exists())))
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert seen == [(5, False)] and path.exists()


def test_a_text_and_a_figure_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    text, figures = tmp_path / "a.txt", [tmp_path / "new" / "a.png", tmp_path / "new" / "a.svg"]
    write_text(text, "é")
    for path in figures:
        write_figure(path, Figure())
    before = [path.read_bytes() for path in (text, *figures)]
    assert before[0].decode() == "é" and before[1].startswith(b"\x89PNG") and b"<svg" in before[2]

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text(text, "other")
    for path in figures:
        with pytest.raises(KeyboardInterrupt):
            write_figure(path, Figure(figsize=(9, 9)))
    assert [path.read_bytes() for path in (text, *figures)] == before
    assert sorted(path.name for path in figures[0].parent.iterdir()) == ["a.png", "a.svg"]

import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrabert_hf import terminal
from extrabert_hf.terminal import LineProgress, display_width, in_columns, markdown_rows, progress_bar, with_progress

CELLS = st.text("ab1.日e\u0301", min_size=1, max_size=40)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5), st.tuples(*[st.booleans()] * 3))
def test_columns_never_touch_and_start_or_end_at_the_same_cell(rows, right):
    places = []
    for row, line in zip(rows, in_columns(rows, right=right), strict=True):
        assert re.split(" {2,}", line.strip()) == list(row)
        ends, end = [], 0
        for cell, is_right in zip(row, right, strict=True):
            start = line.index(cell, end)
            end = start + len(cell)
            ends.append(display_width(line[:end] if is_right else line[:start]))
        places.append(ends)
    assert len({tuple(each) for each in places}) == 1


def test_a_wide_character_takes_two_cells_and_a_combining_one_none():
    lines = markdown_rows([["class", "n"], ["とても良い", "1"], ["tre\u0300s bien", "20"]])
    assert len({display_width(line) for line in lines}) == 1
    assert len({len(line) for line in lines}) > 1


@pytest.mark.parametrize("total", [1, 3, 10, 11, 1000])
def test_a_log_gets_a_line_a_tenth_at_most_and_no_carriage_return(total):
    file = io.StringIO()
    with progress_bar(total, desc="training", units="steps", leave=True, file=file) as bar:
        for step in range(total):
            bar.set_postfix_str(f"loss {step}")
            bar.update()
    lines = file.getvalue().splitlines()
    assert len(lines) == min(total, 10) and "\r" not in file.getvalue()
    assert re.fullmatch(rf"training 100 %, {total:,} of {total:,} steps, \d\d:\d\d, loss {total - 1}", lines[-1])


def test_a_resumed_run_does_not_log_what_was_done_before():
    file = io.StringIO()
    bar = progress_bar(100, desc="training", units="steps", initial=55, leave=True, file=file)
    bar.update()
    assert file.getvalue() == ""
    bar.update(9)
    assert file.getvalue().startswith("training  65 %, 65 of 100")


def test_short_work_beside_the_main_one_logs_nothing_and_work_without_a_total_ever_less(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    file = io.StringIO()
    bars = [progress_bar(total, desc="rows", units="rows", file=file) for total in (90, None)]
    for bar in bars:
        bar.update(30)
    assert file.getvalue() == ""
    for second in range(3600):
        now[0] = float(second)
        bars[1].update(10)
    lines = file.getvalue().splitlines()
    assert 10 < len(lines) < 20 and lines[0] == "rows 140 rows, 00:10"


def test_a_terminal_gets_a_bar_and_a_disabled_one_writes_nothing(capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert not isinstance(progress_bar(2, desc="a", units="rows", file=Terminal()), LineProgress)
    quiet = io.StringIO()
    with progress_bar(1, desc="a", units="rows", leave=True, disable=True, file=quiet) as bar:
        bar.update()
    assert quiet.getvalue() == ""
    assert list(with_progress("abc", desc="a", units="rows")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    assert terminal.PATIENCE > 0  # else each short bar flashes

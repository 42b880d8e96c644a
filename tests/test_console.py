import logging

import pytest

from extrabert_hf.console import recipe_console
from extrabert_hf.errors import InputError


def test_an_input_error_ends_in_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as caught, recipe_console():
        raise InputError("`data` must be a folder, got 'x'.")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: `data` must be a folder, got 'x'.\n"


def test_a_defect_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), recipe_console():
        1 / 0  # noqa: B018


def test_of_several_processes_only_the_first_talks(capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with recipe_console():
        logging.getLogger("extrabert_hf.training").info("hello")
    with pytest.raises(SystemExit), recipe_console():
        raise InputError("no")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_packages_messages_are_as_they_were_after(rank, monkeypatch):
    package = logging.getLogger("extrabert_hf")
    level, handlers = package.level, list(package.handlers)
    monkeypatch.setenv("LOCAL_RANK", rank)
    with recipe_console():
        assert package.level != level
    assert (package.level, package.handlers) == (level, handlers)

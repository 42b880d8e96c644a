import io
import logging
import os
import subprocess
import sys
import warnings

import pytest
import tqdm
from datasets.utils import are_progress_bars_disabled
from transformers.utils import logging as transformers_logging

from extrabert_hf.console import _MessageHandler, asks_for_details, command_console
from extrabert_hf.library_output import hidden_library_output, quiet_packages, shows_details

SHOWN = [
    ("transformers.trainer_utils", "CUDA out of memory, trying a smaller batch"),
    ("transformers.modeling_utils", "BertModel LOAD REPORT from: x\npooler.weight | MISSING"),
    ("huggingface_hub.utils._http", "the server is not reached, retrying"),
]
HIDDEN = [
    ("transformers.trainer_utils", "The tokenizer has new PAD/BOS/EOS tokens that differ from the model config"),
    ("transformers.modeling_utils", "\x1b[1mBertModel LOAD REPORT\x1b[0m from: x\ncls.bias | UNEXPECTED"),
    ("huggingface_hub.utils._http", "Warning: You are sending unauthenticated requests to the HF Hub."),
]


@pytest.fixture
def transformers_log():
    """The messages that transformers' own handler would write."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append((record.name, record.getMessage()))
    loggers = [logging.getLogger("transformers"), logging.getLogger("huggingface_hub")]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)


def log_all():
    for name, message in HIDDEN + SHOWN:
        logging.getLogger(name).warning(message)
    logging.getLogger(HIDDEN[0][0]).error(HIDDEN[0][1])


def test_named_messages_of_libraries_are_hidden_and_all_others_shown(transformers_log):
    with hidden_library_output():
        log_all()
    assert transformers_log == [*SHOWN, HIDDEN[0]]  # an error is never hidden
    transformers_log.clear()
    log_all()
    assert transformers_log[:-1] == HIDDEN + SHOWN


def test_the_bars_of_libraries_and_the_environment_are_as_they_were_after(monkeypatch):
    monkeypatch.delenv("TORCH_CPP_LOG_LEVEL", raising=False)
    with hidden_library_output():
        assert not transformers_logging.is_progress_bar_enabled() and are_progress_bars_disabled()
        assert os.environ["TORCH_CPP_LOG_LEVEL"] == "ERROR"
    assert transformers_logging.is_progress_bar_enabled() and not are_progress_bars_disabled()
    assert "TORCH_CPP_LOG_LEVEL" not in os.environ


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "INFO")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "0")
    with hidden_library_output():
        assert os.environ["TORCH_CPP_LOG_LEVEL"] == "INFO" and not are_progress_bars_disabled()


def test_a_warning_is_shown_by_the_first_process_alone():
    with pytest.warns(UserWarning, match="odd"), hidden_library_output():
        warnings.warn("odd data", stacklevel=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with hidden_library_output(is_first=False):
            warnings.warn("odd data", stacklevel=1)


@pytest.mark.parametrize("words", [["-v"], ["--data", "x", "--verbose"]])
def test_verbose_shows_the_details_and_what_libraries_write(words, monkeypatch, capsys, transformers_log):
    monkeypatch.setattr(sys, "argv", ["recipe.py", *words])
    assert asks_for_details(words) and not asks_for_details(["--verbosity", "v"])
    with command_console():
        assert shows_details() and transformers_logging.is_progress_bar_enabled()
        logging.getLogger("extrabert_hf.training").debug("a detail")
        log_all()
        with quiet_packages():
            assert logging.getLogger("torch.onnx").isEnabledFor(logging.WARNING)
    assert capsys.readouterr().err == "a detail\n" and transformers_log[:-1] == HIDDEN + SHOWN


@pytest.mark.parametrize(("is_child", "shown"), [(False, "a plan\na warning\n"), (True, "a warning\n")])
def test_a_child_shows_warnings_only(is_child, shown, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["recipe.py"])
    monkeypatch.setattr("extrabert_hf.console._end_with_parent", lambda: None)
    log = logging.getLogger("extrabert_hf.training")
    with command_console(is_child=is_child):
        log.debug("a detail")
        log.info("a plan")
        log.warning("a warning")
    assert capsys.readouterr().err == shown


def test_a_message_is_written_above_the_bar():
    stream = io.StringIO()
    with tqdm.tqdm(total=2, file=stream, mininterval=0) as bar:
        bar.update()
        _MessageHandler(stream).emit(logging.makeLogRecord({"msg": "hello"}))
    before = stream.getvalue()[: stream.getvalue().index("hello\n")]
    assert before.endswith("\r") and before.rstrip("\r").endswith(" ")  # the line of the bar was cleared
    assert " 50%" in stream.getvalue().split("hello\n")[1]  # and drawn again


def test_a_warning_is_written_above_the_bar(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["recipe.py"])
    monkeypatch.setattr(sys, "stderr", stream)
    with warnings.catch_warnings(), command_console(), tqdm.tqdm(total=2, file=stream, mininterval=0) as bar:
        monkeypatch.setattr(warnings, "_showwarnmsg_impl", lambda message: stream.write(f"{message.message}\n"))
        warnings.simplefilter("always")
        bar.update()
        warnings.warn("odd data", stacklevel=1)
    assert "\rodd data\n" in stream.getvalue()


@pytest.mark.launch
def test_the_console_imports_no_library():
    program = (
        "import sys; from extrabert_hf.console import command_console\nwith command_console():\n"
        "    print(*({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_quiet_packages_leave_logs_and_warnings_as_they_were(monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = logging.getLogger("torch.onnx").level
    with pytest.raises(ZeroDivisionError), quiet_packages():
        logging.info("a bare call, which gives the root log a handler")
        assert len(root.handlers) == 1
        assert not logging.getLogger("torch.onnx.exporter").isEnabledFor(logging.WARNING)
        warnings.warn("hidden", UserWarning, stacklevel=1)
        _ = 1 / 0
    assert root.handlers == []
    assert logging.getLogger("torch.onnx").level == level
    with pytest.warns(UserWarning, match="shown"):
        warnings.warn("shown", UserWarning, stacklevel=1)

"""The terminal output of a command: messages and one-line errors of this package, without messages of libraries."""

import ctypes
import logging
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from extrabert_hf.errors import InputError, causes, escape_controls, file_system_error, without_secrets
from extrabert_hf.library_output import hidden_library_output

ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
CLOSED_PIPE = 128 + 13
"""Exit status of a command whose reader has gone, as that of a program that SIGPIPE ends."""


class Interrupted(KeyboardInterrupt):
    """A signal of [`ENDING_SIGNALS`]. Libraries end their work as after Ctrl-C."""


class _MessageFormatter(logging.Formatter):
    """Shows a message without secrets and without characters that control the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(without_secrets(super().format(record)))


def _above_bars(stream: Any) -> AbstractContextManager:
    """Clears the `tqdm` bars on a stream for a `with` block, and draws them again afterwards."""
    tqdm = sys.modules.get("tqdm")  # takes time to import, and no bar exists before
    return nullcontext() if tqdm is None else tqdm.tqdm.external_write_mode(file=stream)


class _MessageHandler(logging.StreamHandler):
    """Writes a message above the progress bar that the terminal may show."""

    def emit(self, record: logging.LogRecord) -> None:
        with _above_bars(self.stream):
            super().emit(record)


def asks_for_details(words: Sequence[str]) -> bool:
    """Whether the words of a command line contain `-v` or `--verbose`, which every command has."""
    return any(word in ("-v", "--verbose") for word in words)


@contextmanager
def command_console(*, is_child: bool = False, verbose: bool = False) -> Iterator[None]:
    """
    Shows the package's log on stderr while a command runs, and ends the command with one line and an exit status.

    The status is 2 after an [`InputError`] or an error of the file system, 130 after Ctrl-C, 143 after SIGTERM, and
    141, without a line, if the reader of the output has gone (`| head`). Other exceptions are defects of this package
    and are shown with the traceback. Only the first process of a machine shows messages.

    [`hidden_library_output`] hides messages of libraries.

    Commands import inside the block: the imports take seconds in which a user may press Ctrl-C.

    Args:
        is_child (`bool`, defaults to `False`):
            Whether another command has started this process and reports its end. Then only warnings are shown.
        verbose (`bool`, defaults to `False`):
            Whether to show the details of the package's log, and all that libraries write; also with `-v` or
            `--verbose` among the words of the command line.
    """
    verbose = verbose or asks_for_details(sys.argv[1:])
    if is_child or _is_launched():
        _end_with_parent()
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    handler = _MessageHandler(sys.stderr)
    handler.setFormatter(_MessageFormatter("%(message)s"))
    package = logging.getLogger("extrabert_hf")
    level_before = package.level
    package.addHandler(handler)
    level = logging.DEBUG if verbose else logging.WARNING if is_child else logging.INFO
    package.setLevel(level if is_first else logging.ERROR)
    format_before, show_before = warnings.formatwarning, warnings.showwarning
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"

    def show_warning(*words: Any, **names: Any) -> None:
        with _above_bars(sys.stderr):
            show_before(*words, **names)

    warnings.showwarning = show_warning
    try:
        with nullcontext() if verbose else hidden_library_output(is_first=is_first), _signals() as received:
            try:
                yield
            finally:
                sys.stdout.flush()
    except BaseException as error:
        status, line = _ending(error, received)
        if status is None:
            raise
        if line and is_first and not (is_child and received):
            try:
                print(line, file=sys.stderr)  # noqa: T201
            except BrokenPipeError:
                _silence_closed_outputs()
        sys.exit(status)
    finally:
        warnings.formatwarning, warnings.showwarning = format_before, show_before
        package.removeHandler(handler)
        package.setLevel(level_before)
    if received:  # a library caught the exception and returned
        sys.exit(128 + received[0])


def _ending(error: BaseException, received: list[int]) -> tuple[int | None, str]:
    """Returns exit status and last line of a command that ends with an exception; `None` for a defect."""
    if received or isinstance(error, KeyboardInterrupt):
        number = received[0] if received else signal.SIGINT
        return 128 + number, f"interrupted by {signal.Signals(number).name}"
    if any(isinstance(each, BrokenPipeError) for each in causes(error)) and _silence_closed_outputs():
        return CLOSED_PIPE, ""
    if isinstance(error, InputError):
        return 2, f"error: {error}"
    if isinstance(error, Exception) and (line := file_system_error(error)) is not None:
        return 2, f"error: {line}"
    return None, ""


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Raises [`Interrupted`] for each of [`ENDING_SIGNALS`] that has its default effect; yields those received."""
    received: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        received.append(number)
        raise Interrupted

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in ENDING_SIGNALS if hasattr(signal, name)):  # not on Windows
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_launched() -> bool:
    """Whether `accelerate launch` or `torchrun` has started this process, on Linux."""
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    programs = (b"accelerate", b"torchrun", b"accelerate.commands.launch", b"torch.distributed.run")
    return any(word.rpartition(b"/")[2] in programs for word in words[:4])


SET_PARENT_DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of Linux's prctl.h."""


def _end_with_parent() -> None:
    """
    Makes Linux send SIGTERM to this process when its parent ends, however that ends.

    `accelerate launch` passes no signal on to a single process, and no launcher can when it is killed: the process
    would train on, and its output folder would stay locked.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM))


def _silence_closed_outputs() -> bool:
    """Redirects outputs without a reader to the null device, for Python's last write; returns whether any exist."""
    closed = []
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            closed.append(stream)
    return bool(closed)

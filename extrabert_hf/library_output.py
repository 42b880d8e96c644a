"""Hides what libraries write on the terminal and what a user of a command can't act on: messages and progress bars."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from wrapt import register_post_import_hook

HIDDEN_MESSAGES = {
    "transformers.trainer_utils": r"The tokenizer has new PAD/BOS/EOS tokens|mtime may not be reliable",
    # unexpected weights: the heads of the pre-training, which fine-tuning does not use
    "transformers.modeling_utils": r"(?s)(?!.*\b(MISSING|MISMATCH|CONVERSION)\b).*LOAD REPORT",
    "huggingface_hub.utils._http": r".*You are sending unauthenticated requests",
}
"""By logger, the beginning of messages that are hidden (a regular expression)."""

HIDDEN_WARNINGS = (
    r"barrier\(\): using the device under current context",
    r"No device id is provided via `init_process_group` or `barrier",
    r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`",  # after a step that float16 skips
    r"Was asked to gather along dimension 0, but all input tensors were scalars",
)
"""The beginning of warnings that are hidden (regular expressions)."""

LIBRARIES = r"(transformers|peft|datasets|accelerate|torch|huggingface_hub)\b"
"""Libraries whose `FutureWarning`s are hidden: they are about calls in the code of this package, not of a user."""

ENVIRONMENT = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
"""
Variables that are set unless the user has set them. torch's C++ code writes its hints from every process, and has no
finer switch.
"""


class _Hide(logging.Filter):
    def __init__(self, pattern: str) -> None:
        super().__init__()
        self.pattern = re.compile(pattern)

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or not self.pattern.match(record.getMessage())


@contextmanager
def hidden_library_output(*, is_first: bool = True) -> Iterator[None]:
    """
    Hides [`HIDDEN_MESSAGES`], [`HIDDEN_WARNINGS`] and the bars of transformers and datasets in a `with` block.

    Errors and all other warnings are shown. In a terminal, the bars of downloads are shown, too. This function imports
    no library: it sets the switch of a library once something else imports the library.

    Args:
        is_first (`bool`, defaults to `True`):
            Whether the process is the first of its machine. The other processes show no warnings of libraries, because
            they repeat those of the first.
    """
    filters = [(logging.getLogger(name), _Hide(pattern)) for name, pattern in HIDDEN_MESSAGES.items()]
    for logger, hide in filters:
        logger.addFilter(hide)
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    undo: list[Callable[[], None]] = []
    is_active = True

    def once_imported(module_name: str, hide: Callable[[ModuleType], Callable[[], None] | None]) -> None:
        def hook(module: ModuleType) -> None:
            if is_active and (restore := hide(module)) is not None:
                undo.append(restore)

        register_post_import_hook(hook, module_name)  # called at once for a module that is imported already

    once_imported("transformers.utils.logging", _hide_bars_of_transformers)
    once_imported("datasets.utils.tqdm", _hide_bars_of_datasets)
    try:
        with warnings.catch_warnings():
            for pattern in HIDDEN_WARNINGS if is_first else [""]:
                warnings.filterwarnings("ignore", message=pattern)
            warnings.filterwarnings("ignore", category=FutureWarning, module=LIBRARIES)
            yield
    finally:
        is_active = False
        for restore in undo:
            restore()
        for name in added:
            os.environ.pop(name, None)
        for logger, hide in filters:
            logger.removeFilter(hide)


def _hide_bars_of_transformers(module: ModuleType) -> Callable[[], None] | None:
    if not module.is_progress_bar_enabled():
        return None
    module.disable_progress_bar()  # also those of huggingface_hub
    if sys.stderr.isatty() and "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        from huggingface_hub.utils import enable_progress_bars  # imported by transformers

        enable_progress_bars()
    return module.enable_progress_bar


def _hide_bars_of_datasets(module: ModuleType) -> Callable[[], None] | None:
    if "HF_DATASETS_DISABLE_PROGRESS_BARS" in os.environ or module.are_progress_bars_disabled():
        return None
    module.disable_progress_bars()
    return module.enable_progress_bars


def shows_details() -> bool:
    """Whether the package's log has details: in a command with `--verbose`, or if a program sets the level `DEBUG`."""
    return logging.getLogger("extrabert_hf").isEnabledFor(logging.DEBUG)


NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "sentence_transformers", "transformers")
"""Loggers whose warnings an export hides."""


@contextmanager
def quiet_packages() -> Iterator[None]:
    """
    Hides warnings of [`NOISY`] packages, which a user cannot act on, and restores the root logger afterwards.

    With [`shows_details`] nothing is hidden.
    """
    if shows_details():
        yield
        return
    root = logging.getLogger()
    handlers, loggers = list(root.handlers), [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        root.handlers[:] = handlers  # a call of `logging.info` adds a handler, which would repeat each message

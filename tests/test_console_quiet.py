import logging
import warnings

import pytest

from extrabert_hf.console import quiet_packages


def test_quiet_packages_leave_logs_and_warnings_as_they_were(monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = logging.getLogger("torch.onnx").level
    with pytest.raises(ZeroDivisionError), quiet_packages():
        logging.info("a bare call, which gives the root log a handler")
        assert len(root.handlers) == 1
        assert not logging.getLogger("torch.onnx.exporter").isEnabledFor(logging.WARNING)
        warnings.warn("kept back", UserWarning, stacklevel=1)
        _ = 1 / 0
    assert root.handlers == []
    assert logging.getLogger("torch.onnx").level == level
    with pytest.warns(UserWarning, match="told"):
        warnings.warn("told", UserWarning, stacklevel=1)

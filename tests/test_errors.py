import sys

import pytest

from extrabert_hf.errors import InputError, need_packages


def test_only_a_package_that_is_missing_is_told(monkeypatch):
    need_packages("the export", "export", "torch", "onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"^the export needs onnx: pip install 'extrabert_hf\[export\]'$"):
        need_packages("the export", "export", "torch", "onnx")

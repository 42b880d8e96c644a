import sys

import pytest
from huggingface_hub.errors import StrictDataclassError

from extrabert_hf import ExtraBertConfig
from extrabert_hf.errors import InputError, need_folder, need_packages, one_line


def test_only_a_missing_package_is_named(monkeypatch):
    need_packages("the export", "export", "torch", "onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"^the export needs onnx: pip install 'extrabert_hf\[export\]'$"):
        need_packages("the export", "export", "torch", "onnx")


def test_an_error_of_a_config_field_is_its_cause_on_one_line():
    with pytest.raises(StrictDataclassError) as caught:
        ExtraBertConfig(head_dropout=1.0)
    assert one_line(caught.value) == "`head_dropout` must be in [0, 1), got 1.0."
    assert one_line(OSError("a\n  b")) == "a b"
    assert one_line(OSError()) == "OSError"


def test_a_file_is_refused_where_a_folder_is_needed(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="`output_dir` must be a folder, got the file "):
        need_folder("output_dir", file)
    with pytest.raises(InputError, match="`output_dir` must be a folder that exists or can be created, got "):
        need_folder("output_dir", file / "inside")
    need_folder("output_dir", tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()

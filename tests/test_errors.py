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


def test_a_message_is_one_short_line_that_a_terminal_can_show():
    message = str(InputError(f"`name` must be a word, got '\x1b[2J\u202e\n\t{10**7 * 'a'}': type a word."))
    assert len(message) < 2000 and message.isprintable()
    assert message.startswith(r"`name` must be a word, got '\x1b[2J\u202e a") and message.endswith("': type a word.")
    assert str(InputError("`data` must be a file, got 'Café 東京'.")) == "`data` must be a file, got 'Café 東京'."


def test_a_message_has_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-secret-of-the-environment")
    secrets = ("a-secret-of-the-environment", "hf_" + 34 * "x", "me:pass@word")
    message = str(InputError(f"no file {secrets[0]}, {secrets[1]} or https://me:pass%40word@host/file: type another."))
    assert "pass" not in message and not [secret for secret in secrets if secret in message]
    assert message == "no file ..., ... or https://...@host/file: type another."
    cut = str(InputError(f"{990 * 'a'} {secrets[0]} {10**5 * 'b'}"))
    assert "a-sec" not in cut  # no part of a secret is left where a message is cut

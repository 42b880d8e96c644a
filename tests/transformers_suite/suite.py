"""
Imports transformers' own test suites, which its packages do not install. Nothing of them is copied.

`TRANSFORMERS_TESTS` names the folder `tests` of the source distribution of the installed version:

    pip download --no-binary :all: --no-deps transformers==5.24.0 && tar xzf transformers-5.24.0.tar.gz
    TRANSFORMERS_TESTS=$PWD/transformers-5.24.0/tests pytest tests/transformers_suite
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import transformers

PACKAGE = "tests_of_transformers"

STUBS = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {"config_common_kwargs": {}},
}
"""Modules that the suites import and that the source distribution leaves out, with the names that are imported."""


def suite(name: str) -> ModuleType:
    """Imports a module of the suites, or skips the module that calls this, with the reason."""
    folder = os.environ.get("TRANSFORMERS_TESTS")
    if not folder:
        pytest.skip("needs TRANSFORMERS_TESTS, see tests/transformers_suite/suite.py", allow_module_level=True)
    if not (Path(folder) / f"{name}.py").is_file():
        raise FileNotFoundError(f"TRANSFORMERS_TESTS must name a folder with {name}.py, got {folder!r}.")
    pytest.importorskip("parameterized")
    package = sys.modules.setdefault(PACKAGE, ModuleType(PACKAGE))
    package.__path__ = [folder]
    for stub, names in STUBS.items():
        if not (Path(folder) / f"{stub.replace('.', '/')}.py").is_file():
            for module in (stub.partition(".")[0], stub):
                stubbed = sys.modules.setdefault(f"{PACKAGE}.{module}", ModuleType(f"{PACKAGE}.{module}"))
                stubbed.__path__ = []
            vars(stubbed).update(names)
    with mock.patch("transformers.utils.direct_transformers_import", lambda *args, **kwargs: transformers):
        return importlib.import_module(f"{PACKAGE}.{name}")

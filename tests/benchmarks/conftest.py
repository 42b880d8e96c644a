import gc

import pytest


@pytest.fixture(autouse=True)
def _frozen_imports():
    """Keeps the modules that pytest has imported out of the garbage collection at the start of each training."""
    gc.freeze()
    yield
    gc.unfreeze()

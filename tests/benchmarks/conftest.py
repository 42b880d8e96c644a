import gc

import pytest


@pytest.fixture(autouse=True)
def _frozen_imports():
    """Spares the garbage collection at each training's start a walk through all that pytest has imported."""
    gc.freeze()
    yield
    gc.unfreeze()

"""Speed and memory of this package beside other libraries; run by `recipes/benchmark.py` and not installed."""

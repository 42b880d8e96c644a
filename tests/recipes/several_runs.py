"""
Several recipes one after another in each process that a launcher starts: two processes import torch once for all.

    accelerate launch several_runs.py '[["recipes/sft_sts.py", "--data", "sample"], ...]'
"""

import json
import runpy
import sys

if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")

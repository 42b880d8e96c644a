"""
Fine-tunes an encoder to score the similarity of sentence pairs (STS): the command `extrabert train sts` as a script.

    accelerate launch recipes/sft_sts.py --config recipes/configs/minilm/sts.yaml --data sample
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("train", ["sts", *sys.argv[1:]])

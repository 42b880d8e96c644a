"""
Fine-tunes an encoder to tell paraphrases from other pairs (Quora): the command `extrabert train para` as a script.

    accelerate launch recipes/sft_para.py --config recipes/configs/minilm/para.yaml --data sample
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("train", ["para", *sys.argv[1:]])

"""
Fine-tunes an encoder to classify the sentiment of sentences (SST-5): the command `extrabert train sst` as a script.

    accelerate launch recipes/sft_sst.py --config recipes/configs/minilm/sst.yaml --data sample
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("train", ["sst", *sys.argv[1:]])

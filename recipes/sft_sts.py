"""
Fine-tunes an encoder to score the similarity of sentence pairs (STS): a separate model for this task.

    accelerate launch recipes/sft_sts.py --config recipes/configs/minilm/sts.yaml --data sample
"""

import sys
from pathlib import Path

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    default_config = Path(__file__).parent / "configs" / "table1" / "sft_ma_cs.yaml"
    with recipe_console():
        from extrabert_hf.training.command_line import parse_run
        from extrabert_hf.training.finetune import finetune

        finetune(parse_run("sts", sys.argv[1:], default_config=default_config, description=__doc__))

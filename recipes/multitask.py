"""
Fine-tunes one encoder with a head for each of several tasks, with gradient surgery.

    accelerate launch recipes/multitask.py --config recipes/configs/minilm/multitask.yaml --data sample
"""

import sys
from pathlib import Path

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    default_config = Path(__file__).parent / "configs" / "multitask.yaml"
    with recipe_console():
        from extrabert_hf.training.command_line import parse_multitask_run
        from extrabert_hf.training.finetune import finetune

        finetune(parse_multitask_run(sys.argv[1:], default_config=default_config, description=__doc__))

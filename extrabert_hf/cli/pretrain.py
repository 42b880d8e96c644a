"""
Pre-trains an encoder on plain text with a contrastive loss: neighbouring sentences get similar vectors.

    extrabert pretrain --text README.md --model_name_or_path minilm --output_dir runs/pretrained

The folder then holds an encoder: use it as `--model_name_or_path` of `extrabert train`.
"""

from collections.abc import Sequence

from extrabert_hf.training.command_parser import CommandParser
from extrabert_hf.training.contrastive import NOT_FOR_TEXT, ContrastiveArguments, pretrain
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser(
        [ContrastiveArguments, ExtraBertTrainingArguments],
        prog="extrabert pretrain",
        description=__doc__,
        loads_models=True,
    )
    parser.set_defaults(output_dir="runs/pretrained", eval_strategy="no", load_best_model_at_end=False)
    parser.set_defaults(per_device_train_batch_size=64, num_train_epochs=1)
    parser.hide(NOT_FOR_TEXT)
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    arguments, training, _ = make_parser().parse_args_into_dataclasses(words)
    print(f"the encoder is in {pretrain(arguments, training)}")

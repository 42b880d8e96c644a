"""
Pushes finished runs to the Hub: model, code, tokenizer, card, figures and scores, one repository per run.

    extrabert push runs/sst runs/para runs/sts --collection "ExTraBERT on MiniLM-L6"

The token is from `hf auth login` or HF_TOKEN. A failed push can be repeated.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from extrabert_hf.sharing.hub import add_to_collection, push_folder
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.sharing.repository_files import check_names, preview_push
from extrabert_hf.training.command_parser import CommandParser


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    parser = CommandParser(HubArguments, prog="extrabert push", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="Output folders of training runs.")
    parser.add_argument("--hub_model_id", help="'owner/name' or 'name'; the default is extrabert-FOLDER.")
    parser.add_argument(
        "--adapter_only", action="store_true", help="Push only adapter, pooling and head of runs with LoRA."
    )
    parser.add_argument("--collection", metavar="TITLE", help="Collection to add the models to.")
    parser.add_argument("--dry_run", action="store_true", help="Write the cards and list the files without a push.")
    return parser


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    sharing, arguments = make_parser().parse_args_into_dataclasses(words)
    check_names(arguments.folders, arguments.hub_model_id)
    options = {"sharing": sharing, "adapter_only": arguments.adapter_only}
    if arguments.dry_run:
        print(*(preview_push(folder, arguments.hub_model_id, **options) for folder in arguments.folders), sep="\n")
        return
    again = shlex.join(["extrabert", "push", *words])
    pushed = [push_folder(folder, arguments.hub_model_id, again=again, **options) for folder in arguments.folders]
    if arguments.collection is not None:
        add_to_collection(arguments.collection, pushed, private=bool(sharing.hub_private_repo), again=again)

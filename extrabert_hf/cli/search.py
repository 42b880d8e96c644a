"""
Searches for the best arguments of a training run, at random or with Parzen estimators. Each trial is a process.

    extrabert search --task sts --config minilm/sts --data sample --n_trials 4
    extrabert search reviews.csv --n_trials 4

The first word may be data of your own: a file, a folder or a Hub id, as for `extrabert train`. The same command
continues a search that was killed. Several machines can share one --storage. Flags that are not listed here are passed
to every run (see `extrabert train sts --help`). Results: trials.csv, trials.png and best.yaml.
"""

from collections.abc import Sequence

from extrabert_hf.errors import need_packages

need_packages("the search", "search", "optuna")  # before the imports below, which import optuna

from extrabert_hf.search.arguments import SearchArguments  # noqa: E402
from extrabert_hf.search.runner import run_search  # noqa: E402
from extrabert_hf.search.trial import words_of_search  # noqa: E402
from extrabert_hf.training.command_parser import CommandParser  # noqa: E402


def make_parser() -> CommandParser:
    """Makes the parser of the command line."""
    return CommandParser(SearchArguments, prog="extrabert search", description=__doc__)


def main(words: Sequence[str]) -> None:
    """Runs the command."""
    words = words_of_search(words)
    arguments, flags = make_parser().parse_args_into_dataclasses(words, return_remaining_strings=True)
    print(*run_search(arguments, flags, words), sep="\n")

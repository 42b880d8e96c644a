"""
Measures training and scoring speed beside sentence-transformers and transformers, and the cost of gradient surgery
beside the plain mean of the tasks' losses. All contenders use the same encoder, rows and batches, and take turns.

    python recipes/benchmark.py --only train-sts surgery --rounds 1 --rows 64 --data sample
"""

import sys
from pathlib import Path

from extrabert_hf.console import command_console

if __name__ == "__main__":
    with command_console():
        from extrabert_hf.training.command_parser import CommandParser

        sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is not installed
        from benchmarks.report import table, write_results
        from benchmarks.runner import BenchmarkArguments, run_benchmark

        parser = CommandParser(BenchmarkArguments, description=__doc__)
        (arguments,) = parser.parse_args_into_dataclasses()
        results = run_benchmark(arguments)
        print(table(results))
        write_results(results, arguments.json)

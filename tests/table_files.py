"""Files of rows in each format that a user may bring, written without the code under test."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq


def write_rows(path, rows, separator=","):
    """Writes rows, dictionaries of the same columns, in the format of the suffix; `separator` is that of `.csv`."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else separator)
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if path.suffix == ".jsonl" else f"[{','.join(lines)}]")

"""
Makes five small data sets of the kind that users have, from the sources of installed packages and from templates.

    python -m benchmarks.own_data FOLDER

Each set is a folder with `train.csv` and `heldout.csv`. The rows depend on the seed and, for the sets of real text, on
the versions of the packages, which are written to `versions.json`.
"""

import argparse
import ast
import csv
import importlib.util
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from extrabert_hf.files import atomic_path, write_json

LIBRARIES = ("torch", "transformers", "pandas", "numpy", "datasets")
"""The packages whose docstrings are read; all of them are installed with this package."""
SKIPPED = ("_", "test", "models", "kernels", "distributed", "onnx", "ao", "packaged_modules")
"""Starts of the names of files and folders that are not read: private code, and code with little prose."""
HELD_OUT = 400
"""Rows of each set that are not for training."""
Row = dict[str, object]
SECTION = r"\n *\n *(?:[A-Z]\w+:?\n|[-=>.]{3}|:param|@)|\n *(?:Args|Arguments|Parameters|Returns):"
"""The start of the part of a docstring that is no prose."""
THINGS = "kettle, headset, backpack, tent, keyboard, lamp, jacket, blender, bike lock, speaker, mattress, drill"
ASPECTS = "battery, zip, handle, sound, colour, manual, delivery, price, fabric, lid, switch, cable, size, smell"
OPINIONS = {
    "good": "flawless, a pleasure to use, better than I hoped, sturdy, worth every cent, spot on, lovely, first-rate, "
    "just what we needed, impressive, no trouble at all, very quiet and quick",
    "bad": "a letdown, broken after a week, flimsy, a waste of money, far too loud, not as described, cheap and "
    "nasty, useless, coming apart, a bad joke, worse than the old one, hardly ever working",
    "fair": "okay, neither here nor there, what you would expect, passable, fine for now, average",
}
"""The words of the reviews."""
SLOTS = {
    "who": "the caretaker|the janitor, our accountant|the bookkeeper, a visitor|a guest, the new nurse|the nurse we "
    "hired, two students|a pair of pupils, the driver|the man at the wheel",
    "what": "fixed the door|repaired the door, lost a key|mislaid a key, asked for a refund|wanted the money back, "
    "called an ambulance|phoned for medical help, cancelled the meeting|called off the meeting, ordered lunch|had a "
    "meal delivered, complained about noise|said it was too loud",
    "where": "in the lobby|at the entrance, on the third floor|upstairs, in the car park|where the cars are, at the "
    "Leeds office|in our Leeds branch",
    "when": "this morning|before noon today, last Friday|on Friday of last week, at night|after dark",
}
"""The words of the messages: for each part, two wordings of each value."""


@dataclass(frozen=True)
class OwnData:
    """
    A small data set.

    Args:
        recipe (`str`):
            The task of the paper with the same head: `"sst"`, `"para"` or `"sts"`.
        rows (`int`):
            Number of train rows.
        make (`Callable`):
            Returns the number of rows that it gets, drawn with the given generator.
        flags (`tuple[str, ...]`, *optional*):
            Further flags of a run on these rows.
    """

    recipe: str
    rows: int
    make: Callable[[int, random.Random], list[Row]]
    flags: tuple[str, ...] = ("--class_names", "auto")


@dataclass(frozen=True)
class Described:
    """A class or function with its name in words and the sentences of the first paragraphs of its docstring."""

    module: str
    name: str
    sentences: tuple[str, ...]


@lru_cache
def described(package: str) -> tuple[Described, ...]:
    """Reads the docstrings in the sources of a package, each text once, in the order of the files."""
    (root,) = importlib.util.find_spec(package).submodule_search_locations
    found: dict[str, Described] = {}
    for path in sorted(Path(root).rglob("*.py")):
        if any(part.startswith(SKIPPED) for part in path.relative_to(root).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                sentences = tuple(sentences_of(ast.get_docstring(node) or "", package))
                if sentences:
                    module = ".".join(path.relative_to(root).with_suffix("").parts)
                    found.setdefault(sentences[0], Described(module, words_of(node.name), sentences))
    return tuple(found.values())


def sentences_of(docstring: str, package: str) -> Iterator[str]:
    """Yields the sentences of 5 to 30 words before the first section or code, without markup and package name."""
    prose = re.split(SECTION, docstring)[0]
    prose = re.sub(rf"\b{package}\b|:\w+:|[`*\[\]~]", "", " ".join(prose.split()), flags=re.IGNORECASE)
    for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", prose):
        if 5 <= len(sentence.split()) <= 30 and sentence.endswith(".") and sentence.isascii():
            yield " ".join(sentence.split())


def words_of(name: str) -> str:
    """Returns the words of a name in snake_case or CamelCase."""
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)).lower()


def library_rows(count: int, generator: random.Random) -> list[Row]:
    """The first sentence of a docstring, and the package that it is from: five classes, the smallest with 4 %."""
    shares = dict(zip(LIBRARIES, (0.46, 0.26, 0.16, 0.08, 0.04), strict=True))
    rows = []
    for library, share in shares.items():
        sentences = [entry.sentences[0] for entry in described(library)]
        chosen = generator.sample(sentences, round(count * share))
        rows += [{"text": sentence, "label": library} for sentence in chosen]
    return rows


def review_rows(count: int, generator: random.Random) -> list[Row]:
    """Reviews of products from templates, as bad, fair or good; two aspects of a fair one differ."""
    things, aspects = THINGS.split(", "), ASPECTS.split(", ")
    words = {kind: texts.split(", ") for kind, texts in OPINIONS.items()}
    frames = (
        "The {a} of this {t} is {x}, and the {b} is {y}.",
        "Bought the {t} for my sister: {a} {x}, {b} {y}.",
        "{T}: the {a} turned out to be {x}. As for the {b}, {y}.",
        "I can't say the {b} is {z}, and the {a} is {x}.",
        "Had this {t} for two months. {A} still {x}; {b} {y}.",
        "My neighbour told me the {b} was {z}. Not at all! The {a} is {x} too.",
    )
    opposite = {"good": "bad", "bad": "good", "fair": "fair"}
    rows: dict[str, Row] = {}
    while len(rows) < count:
        label = generator.choice(("bad", "fair", "good"))
        frame, thing = generator.choice(frames), generator.choice(things)
        a, b = generator.sample(aspects, 2)
        kinds = (label, label)
        if label == "fair" and "{z}" not in frame and generator.random() < 0.7:
            kinds = generator.choice((("good", "bad"), ("bad", "good")))
        x, y = (generator.choice(words[kind]) for kind in kinds)
        values = {"t": thing, "T": thing.capitalize(), "a": a, "A": a.capitalize(), "b": b, "x": x, "y": y}
        text = frame.format(**values, z=generator.choice(words[opposite[label]]))
        rows[text] = {"text": text, "label": label}
    return list(rows.values())


def name_rows(count: int, generator: random.Random) -> list[Row]:
    """The first sentence of a docstring and a name: its own, or one from the same module (65 % of the rows)."""
    entries = [entry for library in ("torch", "pandas", "numpy") for entry in described(library)]
    by_module: dict[str, list[Described]] = {}
    for entry in entries:
        by_module.setdefault(entry.module, []).append(entry)
    rows = []
    for entry in generator.sample([entry for entry in entries if len(by_module[entry.module]) > 2], count):
        other = generator.choice([other for other in by_module[entry.module] if other.name != entry.name] or [entry])
        is_match = generator.random() < 0.35 or other is entry
        name = entry.name if is_match else other.name
        rows.append({"sentence1": entry.sentences[0], "sentence2": name, "label": "match" if is_match else "other"})
    return rows


def next_rows(count: int, generator: random.Random) -> list[Row]:
    """Two sentences of docstrings of one package: the second follows the first one, or is from elsewhere."""
    rows = []
    pairs = [
        (library, pair)
        for library in ("transformers", "torch", "pandas")
        for entry in described(library)
        for pair in list(pairwise(entry.sentences))[:1]
    ]
    for library, (first, second) in generator.sample(pairs, count):
        follows = generator.random() < 0.5
        if not follows:
            second = generator.choice([other for name, (_, other) in pairs if name == library and other != second])
        rows.append({"sentence1": first, "sentence2": second, "label": "next" if follows else "elsewhere"})
    return rows


def event_rows(count: int, generator: random.Random) -> list[Row]:
    """Two messages from templates with a score from 0 to 1: who (0.3), what (0.4), where (0.2), when (0.1) agree."""
    slots = {slot: text.split(", ") for slot, text in SLOTS.items()}
    weights = {"who": 0.3, "what": 0.4, "where": 0.2, "when": 0.1}
    orders = (("who", "what", "where", "when"), ("when", "who", "what", "where"), ("where", "who", "what", "when"))
    rows: dict[tuple[str, str], Row] = {}
    while len(rows) < count:
        same = {slot: generator.random() < 0.55 for slot in slots}
        texts = []
        chosen = {slot: generator.sample(values, 2) for slot, values in slots.items()}
        for side in (0, 1):
            parts = {slot: values[0 if same[slot] else side] for slot, values in chosen.items()}
            words = [generator.choice(parts[slot].split("|")) for slot in generator.choice(orders)]
            texts.append(" ".join(words).capitalize() + ".")
        score = round(sum(weight for slot, weight in weights.items() if same[slot]), 2)
        rows[texts[0], texts[1]] = {"sentence1": texts[0], "sentence2": texts[1], "score": score}
    return list(rows.values())


OWN_DATA = {
    "libraries": OwnData("sst", 400, library_rows),
    "reviews": OwnData("sst", 120, review_rows),
    "names": OwnData("para", 300, name_rows),
    "next": OwnData("para", 200, next_rows),
    "events": OwnData("sts", 150, event_rows, ("--label_max", "1")),
}
"""The sets by name."""


def write_sets(folder: Path, seed: int = 0) -> None:
    """Writes all sets, and the versions of the packages whose sources they contain."""
    for name, own in OWN_DATA.items():
        generator = random.Random(f"{name} {seed}")
        rows = own.make(own.rows + HELD_OUT, generator)
        generator.shuffle(rows)
        for split, part in {"heldout": rows[:HELD_OUT], "train": rows[HELD_OUT:]}.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            file_of_split = folder / name / f"{split}.csv"
            with atomic_path(file_of_split) as path, path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(part)
    versions = {library: version(library) for library in LIBRARIES}
    write_json(folder / "versions.json", versions)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the sets")
    write_sets(parser.parse_args().folder)

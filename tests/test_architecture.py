import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "extrabert_hf"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

# From ground to roof: a module imports only from its own floor or from below.
FLOORS = [
    "errors",
    "console",
    "tasks",
    "machine",
    "models",
    "pretrained",
    "data",
    "evaluation",
    "inference",
    "runs",
    "sharing",
    "training",
    "paper",
    "search",
]
# what the files of models/ may import beside their siblings
HUB_BOUND = {"torch", "transformers", "huggingface_hub", "safetensors"}


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def floor_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    if path == PACKAGE / "__init__.py":
        return  # the roof: it gathers the public names
    own = FLOORS.index(floor_of(path))
    for name in imported_names(path):
        if name.startswith("extrabert_hf"):
            below = FLOORS.index([*name.split("."), "errors"][1])
            assert below <= own, f"{path.name} on floor {FLOORS[own]} imports {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*_extrabert.py")), ids=lambda path: path.name)
def test_hub_bound_files_import_only_siblings_and_what_transformers_needs(path):
    standard = {"collections", "contextlib", "contextvars", "copy", "dataclasses", "difflib", "functools", "inspect"}
    standard |= {"json", "logging", "pathlib", "typing"}
    for name in imported_names(path):
        is_sibling = name.startswith(".") and (path.parent / f"{name[1:]}.py").is_file()
        assert is_sibling or name.split(".")[0] in HUB_BOUND | standard, name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_stays_readable_in_one_go(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda path: path.name)
def test_a_recipe_parses_and_calls(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_the_test_tree_mirrors_the_package():
    for path in (ROOT / "tests").rglob("test_*.py"):
        parts = path.relative_to(ROOT / "tests").parts
        if len(parts) > 1 and (PACKAGE / parts[0]).is_dir():
            subjects = [entry.stem for entry in PACKAGE.joinpath(*parts[:-1]).iterdir()]  # or `SUBJECT_aspect`
            assert any(f"{path.stem}_".startswith(f"test_{subject}_") for subject in subjects), path

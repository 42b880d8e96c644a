import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "extrabert_hf"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

# Imports run one way: a module imports only from its own folder or from one that is named before it.
ORDER = [
    "errors",
    "manifest",
    "files",
    "folder_lock",
    "terminal",
    "library_output",
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
    "cli",
    "__main__",
]
# what the files of models/ may import beside their siblings
HUB_BOUND = {"torch", "transformers", "huggingface_hub", "safetensors"}

MOST_LINES = 350
FEWEST_LINES = 60
SMALL = {
    "extrabert_hf/sharing/attention_pooling.py": "exported folders carry this file alone",
}
"""Modules with fewer than 60 lines and one importer, and why each of them is a module."""
SHARED_STEMS = {"__init__", "arguments", "loading", "runner", "results"}
"""Names that modules in several folders may have."""


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path):
    """Modules of the package that a file imports, by their whole names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield f"{module_name(path).rpartition('.')[0]}.{node.module}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("extrabert_hf"):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def lines_of(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path):
    if path == PACKAGE / "__init__.py":
        return  # gathers the public names
    own = ORDER.index(folder_of(path))
    for name in imported_names(path):
        if name.startswith("extrabert_hf"):
            place = ORDER.index([*name.split("."), "errors"][1])
            assert place <= own, f"{name_of(path)} imports {name}, which comes after {ORDER[own]}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*_extrabert.py")), ids=lambda path: path.name)
def test_hub_bound_files_import_only_siblings_and_what_transformers_needs(path):
    standard = {"collections", "contextlib", "contextvars", "copy", "dataclasses", "difflib", "functools", "inspect"}
    standard |= {"hashlib", "json", "logging", "pathlib", "typing"}
    for name in imported_names(path):
        is_sibling = name.startswith(".") and (path.parent / f"{name[1:]}.py").is_file()
        assert is_sibling or name.split(".")[0] in HUB_BOUND | standard, name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_at_most_350_lines_and_a_name_that_says_its_idea(path):
    assert lines_of(path) <= MOST_LINES
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


def test_a_small_module_has_several_importers_or_a_reason():
    importers = Counter(name for path in MODULES for name in set(imported_modules(path)))
    small = {
        name_of(path)
        for path in MODULES
        if path.name not in ("__init__.py", "__main__.py")
        and path.parent.name != "cli"
        and lines_of(path) < FEWEST_LINES
        and importers[module_name(path)] <= 1
    }
    assert small == set(SMALL)


def test_no_two_modules_have_one_name():
    modules = [path for path in MODULES if path.parent.name != "cli"]  # named like the command, as its topic is
    stems = Counter(path.stem for path in modules if path.stem not in SHARED_STEMS)
    assert [stem for stem, count in stems.items() if count > 1] == []


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda path: path.name)
def test_a_recipe_parses_and_calls(path):
    assert lines_of(path) <= 40
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", [PACKAGE, ROOT / "benchmarks"], ids=lambda folder: folder.name)
def test_the_test_tree_mirrors_the_code(folder):
    tests = ROOT / "tests" / (folder.name if folder != PACKAGE else "")
    for path in tests.rglob("test_*.py"):
        parts = path.relative_to(tests).parts
        home = folder.joinpath(*parts[:-1])
        if (len(parts) > 1 or folder != PACKAGE) and home.is_dir():
            subjects = [entry.stem for entry in home.iterdir()]  # or `SUBJECT_aspect`
            assert any(f"{path.stem}_".startswith(f"test_{subject}_") for subject in subjects), path


WRITERS = {"write_text", "write_bytes", "savefig", "to_csv", "to_parquet", "to_json", "to_json_file", "save_to_json"}
WRITERS |= {"save_file", "save_pretrained", "touch", "copyfile", "copy2", "copytree", "rmtree", "unlink", "rename"}
WHOLE = {"atomic_path", "atomic_folder", "recorded_folder"}
"""Context managers of extrabert_hf/files.py: what they hold is moved into place once it is whole, or recorded."""
WRITES = {
    "extrabert_hf/data/in_memory.py:write_rows": "the caller gives a temporary path",
    "extrabert_hf/data/originals.py:copy_rows": "the caller gives a temporary path",
    "extrabert_hf/data/validation.py:write_rejected_rows": "the caller gives a temporary path, or a list that grows",
    "extrabert_hf/folder_lock.py:hold_folder": "removes the description of the process that had the lock",
    "extrabert_hf/inference/prediction_parts.py:held": "removes the lock with the empty folder",
    "extrabert_hf/inference/prediction_parts.py:_remove": "parts of our own job",
    "extrabert_hf/models/base_extrabert.py:save_pretrained": "of transformers, for any folder",
    "extrabert_hf/pretrained/loading.py:save_pretrained": "the counterpart of transformers, for any folder",
    "extrabert_hf/pretrained/lora.py:save_adapter": "as save_pretrained",
    "extrabert_hf/runs/gradient_conflicts.py:add": "a list that grows; a line that is cut short is not read",
    "extrabert_hf/sharing/attention_pooling.py:save": "called by sentence-transformers",
    "extrabert_hf/sharing/export_readme.py:write_onnx_readme": "as export_onnx",
    "extrabert_hf/sharing/export_readme.py:write_sentence_transformers_readme": "as export_onnx",
    "extrabert_hf/sharing/export_readme.py:write_stock_readme": "as export_onnx",
    "extrabert_hf/sharing/onnx_export.py:export_onnx": "the caller gives a temporary folder",
    "extrabert_hf/sharing/onnx_export.py:_replace_metadata": "the caller gives a temporary folder",
    "extrabert_hf/sharing/onnx_export.py:save_config": "the caller gives a temporary folder",
    "extrabert_hf/sharing/sentence_transformers_export.py:export_sentence_transformers": "as export_onnx",
    "extrabert_hf/sharing/sentence_transformers_export.py:_write_json": "as export_onnx",
    "extrabert_hf/sharing/stock_classifier_export.py:export_stock_classifier": "as export_onnx",
    "extrabert_hf/sharing/stock_classifier_export.py:_save_tokenizer": "as export_onnx",
    "extrabert_hf/training/trainer.py:_save": "a checkpoint is whole once it has its last file",
}
"""Functions that write or remove files themselves, and why."""


def writes_file(call):
    """Whether a call writes or removes a file by itself: `json.dump`, `torch.save`, `path.open("w")`..."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if name == "open":
        words = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
        words += [branch for word in words if isinstance(word, ast.IfExp) for branch in (word.body, word.orelse)]
        modes = [word.value for word in words if isinstance(word, ast.Constant)]
        return any(isinstance(mode, str) and set(mode) & set("wax+") and len(mode) <= 3 for mode in modes)
    if (owner, name) in {("json", "dump"), ("torch", "save"), ("np", "save"), ("yaml", "dump"), ("onnx", "save")}:
        return True
    return name in WRITERS and (isinstance(call.func, ast.Attribute) or name == "save_file")


def unsafe_writes(path):
    """Yields `file:function` of each call that writes a file outside of [`WHOLE`]."""

    def visit(node, function, whole):
        if isinstance(node, ast.FunctionDef):
            function, whole = node.name, False
        if isinstance(node, ast.With):
            names = {
                getattr(item.context_expr.func, "id", "")
                for item in node.items
                if isinstance(item.context_expr, ast.Call)
            }
            whole = whole or bool(names & WHOLE)
        if isinstance(node, ast.Call) and writes_file(node) and not whole:
            yield f"{name_of(path)}:{function}"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, whole)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), "", False)


def test_files_are_written_whole_and_removed_by_their_one_owner():
    paths = [path for path in MODULES if path.name not in ("files.py", "manifest.py")]
    paths += [*(ROOT / "recipes").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    assert {write for path in paths for write in unsafe_writes(path)} == WRITES.keys()

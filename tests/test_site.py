"""The site of mkdocs.yml: its pages, and the links of documents that are made for the repository."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import extrabert_hf
from tests.test_docs import ROOT

NAV = [entry for page in yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"] for entry in page.values()]


@pytest.fixture
def shown():
    """Reads a Markdown text of a page as the site shows it."""
    files = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    site = SimpleNamespace(get_file_from_path=lambda name: name if name in files else None)
    config = SimpleNamespace(repo_url="https://host/repository")
    hooks: dict = {"__file__": str(ROOT / "docs" / "site_pages.py")}
    exec((ROOT / "docs" / "site_pages.py").read_text("utf-8"), hooks)
    return lambda page, text: hooks["on_page_markdown"](
        text, SimpleNamespace(file=SimpleNamespace(src_uri=page)), config, site
    )


@pytest.mark.parametrize(
    ("page", "link", "on_site"),
    [
        ("index.md", "docs/train.md#lora", "train.md#lora"),
        ("index.md", "CHANGELOG.md", "CHANGELOG.md"),
        ("index.md", "tests/conftest.py", "https://host/repository/blob/main/tests/conftest.py"),
        ("train.md", "compare.md", "compare.md"),
        ("train.md", "../CONTRIBUTING.md", "CONTRIBUTING.md"),
        ("train.md", "../hub_cards", "https://host/repository/tree/main/hub_cards"),
        ("api/models.md", "../train.md", "../train.md"),
        ("CONTRIBUTING.md", "docs/design.md", "design.md"),
        ("train.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("train.md", "#lora", "#lora"),
    ],
)
def test_a_link_of_the_repository_leads_to_the_page_or_to_the_repository(shown, page, link, on_site):
    assert shown(page, f"See [this]({link}).") == f"See [this]({on_site})."


def test_the_site_has_the_pages_of_the_readme_in_its_order():
    listed = re.findall(r"\(docs/(\w+\.md)\)", (ROOT / "README.md").read_text("utf-8").split("## Documentation")[1])
    pages = [page for page in NAV if isinstance(page, str)] + [page for part in NAV[-1] for page in part.values()]
    assert [page for page in pages if page in listed] == listed


def test_every_public_name_has_a_place_in_the_api_pages():
    text = "".join(Path(path).read_text("utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    named = re.findall(r"^::: extrabert_hf\.(\w+)$", text, re.MULTILINE)
    dicts = ["AGGREGATORS", "PAPER_TASKS"]  # described in docs/python.md
    assert sorted([*named, *dicts]) == sorted(extrabert_hf.__all__)

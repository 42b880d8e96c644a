"""
Hooks of mkdocs.yml: pages of the site that are files of the repository, and links that work on both.

README.md and other documents at the top of the repository become pages. A link to a file that is no page of the site
becomes a link to the repository, so that one link in a document works on GitHub and on the site.
"""

import re
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

import extrabert_hf

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    **{name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")},
    **{str(path.relative_to(ROOT)): path.name for path in sorted((ROOT / "benchmarks").glob("*.png"))},
}
"""File of the repository outside of docs/ -> file of the site."""

LINK = re.compile(r"(\]\()([^)\s#]+)([^)\s]*\))")
NAME = re.compile(r"\[<code>~?([\w.]+)</code>\]")
TYPE = re.compile(r"(?<=<code>)[^<>]*`[^<>]*(?=</code>)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turns each relative link into a link to a page of the site, or to the file in the repository."""
    here = page.file.src_uri
    sources = {page: source for source, page in PAGES.items()}
    folder = Path(sources.get(here, f"docs/{here}")).parent.as_posix()

    def lead(found: re.Match[str]) -> str:
        start, link, end = found.groups()
        if re.match(r"\w+:", link):
            return found[0]
        target = normpath(f"{folder}/{link}")  # in the repository
        on_site = PAGES.get(target, target.removeprefix("docs/"))
        if target in PAGES or (target.startswith("docs/") and files.get_file_from_path(on_site)):
            return f"{start}{relpath(on_site, Path(here).parent.as_posix())}{end}"
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{start}{config.repo_url}/{kind}/main/{target}{end}"

    return LINK.sub(lead, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """
    Shows docstrings in the style of Hugging Face: a type without its backticks, and a public name as a link.

    The documentation of transformers is built from the same marks: (`int`, *optional*) and [`Predictor`].
    """

    def link(found: re.Match[str]) -> str:
        name = found[1]
        if name not in extrabert_hf.__all__:
            return f"<code>{name}</code>"
        return f'<autoref identifier="extrabert_hf.{name}" optional><code>{name}</code></autoref>'

    return NAME.sub(link, TYPE.sub(lambda found: re.sub(r"`|\*(?=optional)|(?<=optional)\*", "", found[0]), html))

"""Atomic writing of a run's files, see [`extrabert_hf.files`], and of figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from extrabert_hf.files import atomic_folder, atomic_path, write_json, write_text

if TYPE_CHECKING:  # slow to import
    from matplotlib.figure import Figure

__all__ = ["atomic_folder", "atomic_path", "write_figure", "write_json", "write_text"]


def write_figure(path: Path, figure: "Figure", dpi: int | Literal["figure"] = "figure") -> None:
    """Writes a figure in the format of the suffix, such as `.png` or `.svg`, see [`atomic_path`]."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=dpi)

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RENDER = """
import json, sys
from pathlib import Path
import extrabert_hf
from extrabert_hf.sharing.model_card import HubArguments, render_card
from extrabert_hf.sharing.shared_run import SharedRun
assert Path(extrabert_hf.__file__).is_relative_to(sys.argv[1]), extrabert_hf.__file__
Path(sys.argv[2]).write_text(render_card(SharedRun(Path(sys.argv[3])), "me/model", HubArguments(), {}))
"""


@pytest.mark.slow
def test_a_wheel_has_every_module_and_renders_the_card_as_a_checkout_does(run_of, tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    for name in ("extrabert_hf", "hub_cards", "recipes/configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*build, "-w", str(wheels), str(source)], check=True)
    (wheel,) = wheels.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = set(archive.namelist())
    files = [path for pattern in ("*.py", "*.jinja", "*.csv") for path in (ROOT / "extrabert_hf").rglob(pattern)]
    assert {path.relative_to(ROOT).as_posix() for path in files} <= names
    templates = {f"extrabert_hf/hub_cards/{path.name}" for path in (ROOT / "hub_cards").glob("*.jinja")}
    assert len(templates) == 6 and templates <= names and not [name for name in names if name.startswith("hub_cards")]
    run, cards = run_of("sts"), []
    for place in (installed, ROOT):
        card = tmp_path / f"{place.name}.md"
        words = [sys.executable, "-c", RENDER, str(place), str(card), str(run)]
        subprocess.run(words, check=True, cwd=tmp_path, env={"PYTHONPATH": str(place), "PATH": ""})
        cards.append(card.read_text())
    assert cards[0] == cards[1] and "## Scores" in cards[0]

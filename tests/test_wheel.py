"""The wheel alone: built, installed into a fresh environment, and used in an empty folder."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.sharing.hub_server import TOKEN, USER, HubServer

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.launch, pytest.mark.real]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the tracked and new files, without what earlier builds have left."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(folder / "source")]
    subprocess.run(build, check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def extrabert(wheel, tmp_path_factory):
    """Runs `extrabert` of a fresh environment in an empty folder; the libraries are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    # a path in a .pth file: this environment's own .pth files, with an editable installation, are not read
    (Path(packages) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    work = folder / "work"
    work.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    environment = inherited | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_XET": "1"}

    def run(*words, **more):
        command = [folder / "venv" / "bin" / "extrabert", *words]
        done = subprocess.run(command, cwd=work, env=environment | more, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    run.work, run.python, run.environment = work, python, environment
    return run


def test_a_wheel_has_the_configs_the_templates_and_the_sample(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern, place in (
        ("recipes/configs", "*.yaml", "extrabert_hf/configs"),
        ("hub_cards", "*.jinja", "extrabert_hf/hub_cards"),
        ("extrabert_hf", "*.py", "extrabert_hf"),
        ("extrabert_hf", "*.jinja", "extrabert_hf"),
        ("extrabert_hf", "*.csv", "extrabert_hf"),
        ("extrabert_hf", "py.typed", "extrabert_hf"),
        ("extrabert_hf", "*.json", "extrabert_hf"),
    ):
        for path in (ROOT / folder).rglob(pattern):
            assert f"{place}/{path.relative_to(ROOT / folder).as_posix()}" in names
    assert {name.partition("/")[0] for name in names} == {"extrabert_hf", f"{wheel.name.split('-py3')[0]}.dist-info"}


def test_the_installed_package_is_that_of_the_wheel(extrabert):
    code = "import extrabert_hf; print(extrabert_hf.__file__)"
    done = subprocess.run(
        [extrabert.python, "-c", code], cwd=extrabert.work, env=extrabert.environment, capture_output=True, text=True
    )
    assert done.stdout.startswith(str(extrabert.work.parent))


def test_the_first_commands_of_a_newcomer_run_from_the_wheel(extrabert):
    extrabert("train", "sts", "--config", "quickstart", "--max_steps", "3")
    (extrabert.work / "pairs.csv").write_text("sentence1,sentence2\nA dog runs.,A cat sleeps.\n")
    extrabert("predict", "runs/quickstart", "pairs.csv", "--output", "predictions.csv")
    assert len((extrabert.work / "predictions.csv").read_text().splitlines()) == 2
    with HubServer() as hub:
        on_hub = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(extrabert.work / "hf")}
        extrabert("push", "runs/quickstart", "--hub_model_id", f"{USER}/first", **on_hub)
        assert {"README.md", "model.safetensors", "modeling_extrabert.py"} <= set(
            hub.repositories[f"{USER}/first"].files
        )

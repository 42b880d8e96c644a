import subprocess
import sys
from pathlib import Path

import pytest

from extrabert_hf.cli.main import COMMANDS, main

FOLDER = Path(__file__).parents[2] / "extrabert_hf" / "cli"


def test_every_command_has_a_module_with_a_main_and_a_recipe_or_is_new():
    modules = {path.stem for path in FOLDER.glob("*.py")}
    assert set(COMMANDS) <= modules
    for command in COMMANDS:
        assert "def main(words: Sequence[str]) -> None:" in (FOLDER / f"{command}.py").read_text()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_without_a_command_all_commands_are_listed(words, capsys):
    main(words)
    listed = capsys.readouterr().out
    assert all(f"\n  {command} " in listed for command in COMMANDS)
    assert max(map(len, listed.splitlines())) <= 80


@pytest.mark.parametrize(("typed", "meant"), [("predcit", "predict"), ("eval", "evaluate"), ("Train", "train")])
def test_a_misspelt_command_is_named_with_the_nearest(typed, meant, capsys):
    with pytest.raises(SystemExit) as left:
        main([typed])
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        f"error: `extrabert` has no command {typed!r}. Did you mean `extrabert {meant}`?\n"
    )


@pytest.mark.launch
def test_the_list_of_commands_and_a_misspelt_one_import_no_library_that_is_slow():
    code = (
        "import sys; from extrabert_hf.cli.main import main; main([]);\n"
        "try: main(['predcit'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"

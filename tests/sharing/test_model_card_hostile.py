"""Cards and pushes of runs whose names and rows hold Markdown, HTML and YAML."""

import json
import re

import pytest
import yaml

from extrabert_hf.errors import InputError
from extrabert_hf.runs.tables import markdown_text
from extrabert_hf.sharing.model_card import HubArguments, render_card
from extrabert_hf.sharing.repository_files import preview_push
from extrabert_hf.sharing.shared_run import SharedRun

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
HOSTILE = "a|b `c` [d](javascript:e) ![f](g) <script>h</script>\n---\nlicense: evil\n# i $\\frac$ \u202e \u2028 *j*"


def change(file, **values):
    record = json.loads(file.read_text())
    for path, value in values.items():
        *steps, last = path.split("__")
        place = record
        for step in steps:
            place = place[step]
        place[last] = value
    file.write_text(json.dumps(record))


def test_a_name_cannot_become_a_link_html_a_table_cell_or_metadata(run_of):
    folder = run_of("sts")
    plain = render_card(SharedRun(folder), "me/m", HubArguments(), {})
    change(
        folder / "metrics.json",
        tasks__sts__dataset={"name": HOSTILE, "hub_id": None, "config": None},
        tasks__sts__model__encoder=HOSTILE,
        machine={"cpu": HOSTILE},
        versions={HOSTILE: HOSTILE},
        arguments__optim=HOSTILE,
    )
    text = render_card(SharedRun(folder), "me/m", HubArguments(), {HOSTILE: HOSTILE})
    _, head, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert yaml.safe_load(head)["license"] == "mit"
    assert yaml.safe_load(head)["model-index"][0]["results"][0]["dataset"]["name"] == HOSTILE
    assert not re.search(r"(?<!\\)<script|(?<!\\)\[[dg]\]|(?<!\\)`c|[\u2028\u202e]", body)
    assert not re.search(r"^(license|---$)", body, re.MULTILINE)
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in body.split("\n") if line.startswith("|")]
    assert set(cells) == {len(re.findall(r"\|", line)) for line in plain.split("\n") if line.startswith("|")}


def test_a_rejected_row_with_any_character_does_not_stop_a_push(run_of):
    folder = run_of("sts")
    row = {
        "file": "a.csv",
        "line": 1,
        "reason": "label '\u2028 \x85 \x0b\x0c\x1c \r' is not a number",
        "row": {"text": "\u2029 \x85"},
    }
    text = json.dumps(row, ensure_ascii=False)
    (folder / "rejected_rows.jsonl").write_text(f"{text}\n{text}\n", encoding="utf-8", newline="\n")
    assert SharedRun(folder).rejected == {"a label that the task does not have": 2}
    assert "README.md" in preview_push(folder, None, sharing=HubArguments())


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("rejected_rows.jsonl", '{"file": 3}\n'),
        ("rejected_rows.jsonl", '{"file": 3, "line": "x", "reason": null, "row": []}\n'),
        ("trainer_state.json", '{"log_history": 3}'),
        ("trainer_state.json", ""),
        ("data_audit.json", '{"sts": []}'),
        ("config.json", "[]"),
        ("tokenizer_config.json", "3"),
        ("metrics.json", ""),
    ],
)
def test_a_broken_file_of_a_run_ends_in_one_line_that_names_the_file(file, text, run_of):
    folder = run_of("sts")
    (folder / file).write_text(text)
    with pytest.raises(InputError, match=re.escape(file)) as caught:
        preview_push(folder, None, sharing=HubArguments())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../x", 'a"); import os; ("', "x" * 500])
def test_a_task_of_the_configuration_is_not_a_path_and_not_code(name, run_of):
    folder = run_of("multitask")
    config = json.loads((folder / "config.json").read_text())
    config["tasks"][name] = config["tasks"].pop("sst")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: `name` of a task .* must be"):
        preview_push(folder, None, sharing=HubArguments())


def test_a_card_warns_of_a_score_that_is_not_above_the_majority_baseline(run_of):
    folder = run_of("sst")
    low = {"metrics": {"accuracy": 0.2}, "intervals": {"accuracy": [0.1, 0.3]}, "majority_baseline": {"accuracy": 0.2}}
    change(folder / "metrics.json", tasks__sst__scores={"dev": low | {"rows": 40}})
    text = render_card(SharedRun(folder), "me/m", HubArguments(), {})
    assert "**Warning**: sst dev: the accuracy 0.200 is not above the majority baseline, 0.200." in text
    high = low | {"rows": 40, "metrics": {"accuracy": 0.4}, "intervals": {"accuracy": [0.3, 0.5]}}
    change(folder / "metrics.json", tasks__sst__scores={"dev": high})
    assert "**Warning**" not in render_card(SharedRun(folder), "me/m", HubArguments(), {})


@pytest.mark.parametrize(
    "text", [".482 ± .003 [.460, .500]", "<.001", "+.02 [-.01, +.05]", "runs/a_b-c.1", "very negative"]
)
def test_plain_cells_stay_as_they_are(text):
    assert markdown_text(text) == text

import csv
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from extrabert_hf.cli.audit import main as audit
from extrabert_hf.data.auditing import text_keys
from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.label_doubts import LabelDoubts
from extrabert_hf.evaluation.metrics import ConstantInputWarning
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.label_errors import LabelErrors
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.label_error_search import LabelErrorArguments, folds_of, predict_folds
from extrabert_hf.training.one_call import finetune

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")

WORDS = {"bad": "boring", "fair": "ordinary", "good": "funny"}
TRAINING = """
model: {feed_forward_depth: 0}
data: {max_length: 40}
trainer:
  learning_rate: 1.0e-2
  head_learning_rate: 1.0e-2
  per_device_train_batch_size: 8
  num_train_epochs: 12
  eval_strategy: "no"
  save_strategy: "no"
  load_best_model_at_end: false
  bf16: false
  disable_tqdm: true
"""


@pytest.fixture
def settings(tiny_encoder, tmp_path):
    """Flags of the folds' training: a tiny encoder, and enough steps to learn one word of each class."""
    (tmp_path / "fast.yaml").write_text(TRAINING)
    return ["--model_name_or_path", tiny_encoder, "--config", str(tmp_path / "fast.yaml"), "--folds", "3"]


@pytest.fixture
def reviews(tmp_path):
    """A file whose lines are not its rows, and the line of each of its 6 wrong labels."""
    path, wrong = tmp_path / "reviews.csv", set()
    lines = ["stars,review"]
    for number in range(120):
        label = given = [*WORDS][number % 3]
        if number % 20 == 7:
            given = [*WORDS][(number + 1) % 3]
            wrong.add(len(lines) + 1)
        lines.append(f'{given},"a {WORDS[label]} film')
        if number % 2:
            lines.append(f'zq{number}"')  # unknown to the tokenizer: only the word of the class can be learned
        else:
            lines[-1] += f' zq{number}"'
        lines += [f"{label},"] if number % 40 == 0 else []  # has no text
    path.write_text("\n".join(lines) + "\n")
    return path, wrong


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_planted_labels_are_found_by_models_of_other_folds(reviews, settings, tmp_path, capsys):
    pytest.importorskip("cleanlab", reason="needs the extra `labels`")
    (path, wrong), output = reviews, tmp_path / "doubts.csv"
    audit(["--data", str(path), "--find_label_errors", "--output", str(output), *settings])
    found, lines = read(output), path.read_text().splitlines()
    assert wrong <= {int(row["line"]) for row in found} and len(found) <= 12
    assert {int(row["line"]) for row in found[:6]} == wrong
    for row in found:
        label, start = lines[int(row["line"]) - 1].split(",", 1)
        assert row["label"] == label and row["id"] == row["line"]
        assert row["sentence1"].startswith(start.strip('"'))
        assert row["suggested_label"] != row["label"]
    assert [float(row["doubt"]) for row in found] == sorted((float(row["doubt"]) for row in found), reverse=True)
    summary = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(rf"reviews, reviews.csv: {len(found)} of 120 labels \([\d.]+%\) are doubtful: .*", summary)
    page = output.with_suffix(".html").read_text()
    assert page.count("<tr data-text=") == len(found) and "<script>" in page and "--good: #1a7f37" in page


def test_a_few_rows_are_searched_without_repeated_messages(settings, tmp_path, caplog, recwarn):
    pytest.importorskip("cleanlab", reason="needs the extra `labels`")
    caplog.set_level("INFO", logger="extrabert_hf")
    path, output = tmp_path / "few.csv", tmp_path / "doubts.csv"
    rows = [f"{label},=a {word} film {n}" for n in range(4) for label, word in WORDS.items()]
    path.write_text("\n".join(["stars,review", *rows, "bad,=a funny film", "bad,"]))
    audit(["--data", str(path), "--find_label_errors", "--output", str(output), *settings])
    assert not [each for each in recwarn if issubclass(each.category, ConstantInputWarning)]
    assert [message for message in caplog.messages if "rejected" in message] == [
        "1 of 14 rows of few.csv rejected: 1 empty sentence1"
    ]
    assert [message for message in caplog.messages if "like a formula" in message] == [
        f"{len(read(output))} cells start like a formula (= + - @): before you open the file in a spreadsheet "
        "program, write it with --csv_safe true"
    ]


def test_flags_without_effect_on_an_audit_are_refused():
    for name, words in (("max_length", ["9"]), ("predict_test", ["false"])):
        with pytest.raises(InputError, match=f"`{name}` "):
            audit(["--data", "sample", f"--{name}", *words])


@pytest.mark.parametrize("csv_safe", [False, True])
def test_cells_that_are_formulas_are_counted_or_quoted(csv_safe, tmp_path, caplog):
    predictions = Predictions(
        PAPER_TASKS["sst"], ["=1", "b"], [("=1+1",), ("fine",)], np.eye(5)[[1, 2]], np.zeros(2, int), [2, 3]
    )
    doubts = LabelDoubts(np.array([1, 2]), np.array([0.9, 0.8]), np.ones(2, bool))
    LabelErrors("sst train", "A model.", predictions, doubts).write(tmp_path / "doubts.csv", csv_safe=csv_safe)
    cells = [(row["id"], row["sentence1"]) for row in read(tmp_path / "doubts.csv")]
    assert cells == ([("'=1", "'=1+1"), ("b", "fine")] if csv_safe else [("=1", "=1+1"), ("b", "fine")])
    assert ("2 cells start like a formula" in caplog.text) is not csv_safe


def test_a_missing_package_is_named_before_a_model_is_trained(reviews, settings, monkeypatch):
    monkeypatch.setattr("extrabert_hf.errors.is_installed", lambda name: name != "cleanlab")
    with pytest.raises(InputError, match=r"wrong classes needs cleanlab: pip install 'extrabert_hf\[labels\]'"):
        audit(["--data", str(reviews[0]), "--find_label_errors", *settings])


def test_the_scores_of_pairs_are_searched_without_cleanlab(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("extrabert_hf.errors.is_installed", lambda name: name != "cleanlab")
    output = tmp_path / "doubts.csv"
    audit(["--data", "sample", "--like", "sts", "--find_label_errors", "--output", str(output), *settings])
    rows = load_split(PAPER_TASKS["sts"], "sample", "train").splits["train"]
    label_of = dict(zip(rows["line"][:], rows["label"][:], strict=True))
    for row in read(output):
        assert float(row["label"]) == label_of[int(row["line"])]
        assert float(row["doubt"]) > 2.5 and 0 <= float(row["suggested_label"]) <= 5


def test_a_given_model_predicts_the_rows_that_it_was_not_trained_on(reviews, settings, tmp_path):
    pytest.importorskip("cleanlab", reason="needs the extra `labels`")
    (path, wrong), run, output = reviews, tmp_path / "run", tmp_path / "doubts.csv"
    lines = path.read_text().splitlines()
    train = [f"{label},a {word} film zz{n}" for n in range(40) for label, word in WORDS.items()]
    (tmp_path / "train.csv").write_text("\n".join([lines[0], *train]))
    finetune(str(tmp_path / "train.csv"), output_dir=run, config=settings[3], model_name_or_path=settings[1])
    words = ["--find_label_errors", "--model", str(run), "--output", str(output)]
    audit(["--data", str(path), *words])
    found = read(output)
    assert {int(row["line"]) for row in found[:6]} == wrong
    assert all(row["suggested_label"] != row["label"] for row in found)
    with pytest.raises(InputError, match="`class_names` can't be used here: `model` has its own task"):
        audit(["--data", str(path), "--class_names", "a", "b", "--find_label_errors", "--model", str(run)])
    with pytest.raises(InputError, match=r"was not trained on, got \d+ train rows of 120: give .*no --model: then"):
        audit(["--data", str(tmp_path / "train.csv"), *words])


def test_a_fold_has_all_rows_of_a_text_and_its_share_of_each_class():
    rows = load_split(PAPER_TASKS["sst"], "sample", "train").splits["train"]
    keys, labels = text_keys(rows), np.asarray(rows["label"][:])
    doubled = folds_of([*keys, *keys], np.concatenate([labels, labels]), 4)
    assert (doubled[: len(keys)] == doubled[len(keys) :]).all()
    folds = folds_of(range(len(labels)), labels, 4)
    counts = np.array([np.bincount(labels[folds == fold], minlength=5) for fold in range(4)])
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1
    assert (folds_of(range(len(labels)), labels, 4, seed=1) != folds).any()


def test_no_row_is_predicted_by_a_model_that_was_trained_on_its_text(monkeypatch):
    def fake_finetune(train, **settings):
        def predict(held_out):
            assert not set(text_keys(train)) & set(text_keys(held_out))
            values = np.array([[float(row_id)] for row_id in held_out["id"]])
            return SimpleNamespace(logits=values)

        return SimpleNamespace(predictor=SimpleNamespace(predict=predict))

    monkeypatch.setattr("extrabert_hf.training.label_error_search.finetune", fake_finetune)
    texts = [f"text {n % 20}" for n in range(30)]
    rows = {"sentence1": texts, "sentence2": texts, "label": np.linspace(0, 5, 30)}
    rows |= {"id": [str(n) for n in range(30)], "line": range(2, 32)}
    found = predict_folds(
        Dataset.from_dict(rows), PAPER_TASKS["sts"], LabelErrorArguments(find_label_errors=True, folds=3)
    )
    assert found.logits[:, 0].tolist() == list(range(30))
    assert list(found.lines) == list(range(2, 32))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1"], "`folds` must be"),
        (["--output", "errors.tsv"], r"`output` must end in \.csv, got 'errors.tsv'"),
        (["--model", "runs/a", "--config", "a.yaml"], "`model` can't be combined with `model_name_or_path`"),
        ([], "`like` must name one task to find label errors, sst or para or sts, got none"),
        (["--like", "sst", "--dev_data", "dev.csv"], "`dev_data` can't be used here: the rows of `data` are searched"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        audit(["--data", "sample", "--find_label_errors", *words])


def test_a_model_without_the_search_and_more_folds_than_texts_are_refused():
    with pytest.raises(InputError, match="`model` is for --find_label_errors"):
        LabelErrorArguments(model="runs/a")
    with pytest.raises(InputError, match="`folds` is for --find_label_errors, got it without"):
        LabelErrorArguments(folds=3)
    with pytest.raises(InputError, match="`model_task` is the task of `model`"):
        LabelErrorArguments(find_label_errors=True, model_task="sst")
    with pytest.raises(InputError, match="`folds` is for models that the search trains"):
        LabelErrorArguments(find_label_errors=True, model="runs/a", folds=3)
    with pytest.raises(InputError, match="`folds` must be at most the number of different texts, 2, got 3"):
        folds_of(["a", "b", "a"], np.zeros(3), 3)


def test_a_file_of_the_user_is_not_replaced(tmp_path, settings):
    for name in ("doubts.csv", "doubts.html"):
        Path(tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match=f"`output`.*{name}"):
            audit(
                [
                    "--data",
                    "sample",
                    "--like",
                    "sts",
                    "--find_label_errors",
                    "--output",
                    f"{tmp_path}/doubts.csv",
                    *settings,
                ]
            )
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()

import csv
import io
import json
import sys
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer, set_seed

from extrabert_hf import ExtraBertForParaphrase, ExtraBertForSentiment, ExtraBertForSimilarity
from extrabert_hf.cli.predict import main
from extrabert_hf.errors import InputError
from extrabert_hf.inference import prediction_file
from extrabert_hf.inference.prediction_file import PredictionParts, predict_file
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.tasks import PAPER_TASKS

CLASSES = {"sst": ExtraBertForSentiment, "para": ExtraBertForParaphrase, "sts": ExtraBertForSimilarity}


@pytest.fixture
def predict(tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)

    def run(task, source, output, abstain_below=None, **options):
        set_seed(0)
        model = CLASSES[task].from_backbone(tiny_encoder).eval()
        predictor = Predictor((TrainedModel(model, tokenizer, PAPER_TASKS[task]),), **options)
        return predict_file(predictor, str(source), str(output), abstain_below=abstain_below)

    return run


def test_classes_come_with_names_and_probabilities(predict, tmp_path):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('id,text\na,"Good, really."\nb,Bad.\n')
    assert predict("sst", source, output) == 2
    rows = list(csv.DictReader(output.open()))
    assert [(row["id"], row["text"]) for row in rows] == [("a", "Good, really."), ("b", "Bad.")]
    for row in rows:
        probabilities = [float(row[name]) for name in row if name.startswith("p_")]
        assert len(probabilities) == 5
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
        assert row["predicted_class"] == PAPER_TASKS["sst"].class_names[int(row["class_id"])]
        assert probabilities[int(row["class_id"])] == max(probabilities)


def test_a_file_in_parts_gives_the_predictions_of_the_whole(predict, tmp_path, monkeypatch):
    source = tmp_path / "in.jsonl"
    lines = [json.dumps({"sentence1": f"A dog {n % 3} runs", "sentence2": f"cat number {n}"}) for n in range(10)]
    source.write_text("\n".join(lines))
    predict("sts", source, tmp_path / "whole.jsonl")
    monkeypatch.setattr(prediction_file, "ROWS_AT_A_TIME", 3)
    assert predict("sts", source, tmp_path / "parts.jsonl") == 10
    whole, parts = ((tmp_path / name).read_text().splitlines() for name in ("whole.jsonl", "parts.jsonl"))
    for a, b in zip(map(json.loads, whole), map(json.loads, parts), strict=True):
        assert a.pop("predicted_score") == pytest.approx(b.pop("predicted_score"), abs=2e-4)
        assert a == b


@pytest.fixture
def middle(predict, pairs, tmp_path):
    """A probability that some of the pairs reach."""
    predict("para", pairs, tmp_path / "all.jsonl")
    rows = map(json.loads, (tmp_path / "all.jsonl").read_text().splitlines())
    highest = sorted(max(row["p_paraphrase"], row["p_not_paraphrase"]) for row in rows)
    return highest[12] + 0.00005  # the written probabilities have four decimal places


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_rows_below_the_threshold_have_probabilities_and_no_class(suffix, predict, pairs, middle, tmp_path, caplog):
    plain, output = tmp_path / f"plain{suffix}", tmp_path / f"out{suffix}"
    predict("para", pairs, plain)
    with caplog.at_level("INFO"):
        predict("para", pairs, output, abstain_below=middle)
    rows, of_plain = read_rows(output), read_rows(plain)
    assert list(rows[0]) == [*of_plain[0], "abstained"]
    answered = 0
    for row, as_before in zip(rows, of_plain, strict=True):
        abstained = row.pop("abstained")
        is_below = max(float(row["p_paraphrase"]), float(row["p_not_paraphrase"])) < middle
        assert abstained == (is_below if suffix == ".jsonl" else str(is_below).lower())
        empty = dict.fromkeys(("predicted_class", "class_id"), None if suffix == ".jsonl" else "")
        assert row == (as_before | empty if is_below else as_before)
        answered += not is_below
    assert 0 < answered < 25 and f"answered {answered} of 25 rows, abstained from {25 - answered}" in caplog.text


def test_the_last_line_counts_rows_or_predictions(pairs, tiny_encoder, tmp_path, capsys):
    model, tokenizer = build_model(tiny_encoder, PAPER_TASKS["para"])
    TrainedModel(model, tokenizer, PAPER_TASKS["para"]).save_pretrained(tmp_path / "model")
    words = [str(tmp_path / "model"), str(pairs), "--output", str(tmp_path / "out.csv")]
    for flags, last in (([], "25 predictions in"), (["--abstain_below", "1.0"], "25 rows in")):
        main([*words, *flags])
        assert capsys.readouterr().err.splitlines()[-1] == f"{last} {tmp_path / 'out.csv'}"


def test_without_a_threshold_there_is_no_column_and_no_count(predict, pairs, tmp_path, caplog):
    with caplog.at_level("INFO"):
        predict("para", pairs, tmp_path / "out.jsonl")
    assert "abstained" not in read_rows(tmp_path / "out.jsonl")[0] and "answered" not in caplog.text
    predict("para", pairs, tmp_path / "zero.jsonl", abstain_below=0.0)
    assert {row["abstained"] for row in read_rows(tmp_path / "zero.jsonl")} == {False}


def test_a_column_with_the_name_of_the_new_one_stays(predict, middle, pairs, tmp_path, caplog):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence1", "sentence2", "abstained"])
        writer.writerows([row["sentence1"], row["sentence2"], 'true,"\r\n'] for row in rows)
    with caplog.at_level("INFO"):
        predict("para", source, output, abstain_below=middle)
    written = read_rows(output)
    assert {row["abstained"] for row in written} == {'true,"\r\n'}
    answered = [row["abstained_2"] for row in written].count("false")
    assert 0 < answered < 25 and f"answered {answered} of 25 rows" in caplog.text


def test_a_call_that_goes_on_counts_the_rows_of_all_parts(predict, pairs, middle, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(prediction_file, "ROWS_AT_A_TIME", 10)
    predict("para", pairs, tmp_path / "whole.csv", abstain_below=middle)
    calls, logits = [], Predictor.logits

    def break_off(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return logits(*args, **kwargs)

    monkeypatch.setattr(Predictor, "logits", break_off)
    with pytest.raises(KeyboardInterrupt):
        predict("para", pairs, tmp_path / "out.csv", abstain_below=middle)
    with caplog.at_level("INFO"):
        predict("para", pairs, tmp_path / "out.csv", abstain_below=middle)
    assert "continuing after 1 parts" in caplog.text
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    answered = [row["abstained"] for row in read_rows(tmp_path / "out.csv")].count("false")
    assert f"answered {answered} of 25 rows" in caplog.text


def test_another_threshold_does_not_go_on_with_the_parts(predict, pairs, middle, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(prediction_file, "ROWS_AT_A_TIME", 10)
    monkeypatch.setattr(PredictionParts, "join", lambda *_: None)
    predict("para", pairs, tmp_path / "out.csv", abstain_below=middle)
    with caplog.at_level("INFO"):
        predict("para", pairs, tmp_path / "out.csv", abstain_below=middle + 0.01)
    assert "continuing" not in caplog.text


@pytest.mark.parametrize(
    ("task", "value", "text"), [("sts", 0.9, "is for classes, but 'sts' has scores"), ("para", 90, "from 0 to 1")]
)
def test_abstention_needs_classes_and_a_probability(task, value, text, predict, pairs, tmp_path):
    with pytest.raises(InputError, match=f"`abstain_below` .*{text}"):
        predict(task, pairs, tmp_path / "out.csv", abstain_below=value)
    assert not (tmp_path / "out.csv").exists()


def test_the_rows_on_standard_output_are_counted(predict, pairs, middle, capsys, caplog):
    with caplog.at_level("INFO"):
        predict("para", pairs, "-", abstain_below=middle)
    abstained = [json.loads(line)["abstained"] for line in capsys.readouterr().out.splitlines()]
    assert f"answered {abstained.count(False)} of 25 rows" in caplog.text


def read_rows(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "in.jsonl"
    lines = [{"sentence1": f"A dog {n % 3} runs", "sentence2": f"cat, number {n}"} for n in range(25)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl"])
def test_a_run_that_broke_off_goes_on_and_ends_as_one_that_did_not(
    output, predict, pairs, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(prediction_file, "ROWS_AT_A_TIME", 10)
    predict("para", pairs, tmp_path / f"whole_{output}")
    calls, logits = [], Predictor.logits

    def break_off(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return logits(*args, **kwargs)

    monkeypatch.setattr(Predictor, "logits", break_off)
    with pytest.raises(KeyboardInterrupt):
        predict("para", pairs, tmp_path / output)
    assert not (tmp_path / output).exists() and (tmp_path / f"{output}.parts").is_dir()
    with caplog.at_level("INFO"):
        assert predict("para", pairs, tmp_path / output) == 25
    assert "continuing after 1 parts of 10 rows" in caplog.text and len(calls) == 4
    assert (tmp_path / output).read_bytes() == (tmp_path / f"whole_{output}").read_bytes()
    assert not (tmp_path / f"{output}.parts").exists()


def test_parts_of_another_model_or_file_are_not_gone_on_from(predict, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_file, "ROWS_AT_A_TIME", 10)
    monkeypatch.setattr(PredictionParts, "join", lambda *args: None)  # the parts stay
    predict("para", pairs, tmp_path / "out.csv")
    parts = tmp_path / "out.csv.parts"
    before = (parts / "000000").stat().st_mtime_ns
    predict("para", pairs, tmp_path / "out.csv")
    assert (parts / "000000").stat().st_mtime_ns == before
    predict("sts", pairs, tmp_path / "out.csv")
    after = (parts / "000000").stat().st_mtime_ns
    assert after != before
    pairs.write_text(pairs.read_text().replace("dog", "bird"))
    predict("sts", pairs, tmp_path / "out.csv")
    assert (parts / "000000").stat().st_mtime_ns != after


def test_bfloat16_changes_a_score_by_its_rounding_only(predict, pairs, tmp_path):
    for name, bf16 in (("plain", False), ("bf16", True)):
        predict("sts", pairs, tmp_path / f"{name}.jsonl", bf16=bf16)
    plain, rounded = (
        [json.loads(line)["predicted_score"] for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("plain", "bf16")
    )
    assert plain != rounded and plain == pytest.approx(rounded, abs=0.05)


def test_several_processes_need_files(predict, pairs, monkeypatch):
    monkeypatch.setattr(prediction_file, "join_processes", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(InputError, match="`input` and `output` must be files for 2 processes, got '-'"):
        predict("sts", pairs, "-")


def test_the_input_is_never_written_over(predict, tmp_path):
    for name, output in (("in.csv", "./in.csv"), ("out.rejected.jsonl", "out.csv")):
        source = tmp_path / name
        source.write_text('{"sentence": "A"}\n')
        with pytest.raises(InputError, match=r"`output` .* would take the place of the input"):
            predict("sst", source, tmp_path / output)
        assert source.read_text() == '{"sentence": "A"}\n'


def test_a_call_that_finds_no_column_leaves_the_rejected_rows_of_the_one_before(predict, tmp_path):
    (tmp_path / "out.rejected.jsonl").write_text("{}\n")
    (tmp_path / "in.csv").write_text("number\n1\n")
    with pytest.raises(InputError, match="column"):
        predict("sst", tmp_path / "in.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.rejected.jsonl").read_text() == "{}\n"


def test_an_output_that_cannot_be_written_is_an_error_before_any_row_is_read(predict, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="`output` must be a file, got the folder"):
        predict("sst", tmp_path / "none.csv", tmp_path / "folder.csv")
    with pytest.raises(InputError, match=r"`output` must be a folder, got the file .*file"):
        predict("sst", tmp_path / "none.csv", tmp_path / "file" / "out.csv")


def test_a_run_that_breaks_off_leaves_no_half_of_a_file(predict, tmp_path):
    source = tmp_path / "in.csv"
    source.write_bytes(b"text\n" + b"A\n" * 30_000 + b"\xff\n")
    with pytest.raises(InputError, match="must be UTF-8"):
        predict("sst", source, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_rows_without_text_are_written_with_their_reason(predict, tmp_path):
    source, output = tmp_path / "in.tsv", tmp_path / "out.csv"
    source.write_text("sentence1\tsentence2\nA\tB\n\tB\nA\t \n")
    assert predict("para", source, output) == 1
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [(row["line"], row["reason"]) for row in rejected] == [(3, "empty sentence1"), (4, "empty sentence2")]


def test_rejected_rows_are_written_in_the_order_of_the_file_however_many_there_are(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_file, "ROWS_AT_A_TIME", 2)
    source, output = tmp_path / "in.tsv", tmp_path / "out.csv"
    lines = ["A\tB", *["A"] * 5, "\tB", *["C\tD"] * 4, "A", " \tB", "E\tF"]
    source.write_text("sentence1\tsentence2\n" + "".join(f"{line}\n" for line in lines))
    assert predict("para", source, output) == 6
    assert [line.split(",")[1] for line in output.read_text().splitlines()[1:]] == ["A", *"CCCC", "E"]
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rejected] == [3, 4, 5, 6, 7, 8, 13, 14]


def test_standard_input_and_output_take_one_sentence_a_line(predict, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"A dog\tA cat\nRain\tSnow\n")))
    assert predict("sts", "-", "-") == 2
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["sentence1"], row["sentence2"]) for row in rows] == [("A dog", "A cat"), ("Rain", "Snow")]
    assert all(-5 <= row["predicted_score"] <= 5 for row in rows)


@pytest.mark.parametrize(
    ("name", "text", "output", "message"),
    [
        ("in.csv", "text\nA\n", "out.xml", "`output` must end in .csv, .tsv or .jsonl, or be '-', got"),
        ("in.csv", "words\nA\n", "out.csv", "no column for `sentence1`"),
        ("in.csv", "", "out.csv", "in.csv"),
        ("in.doc", "A", "out.csv", "must end in one of"),
    ],
)
def test_what_cannot_be_used_is_an_error_of_one_line(predict, tmp_path, name, text, output, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        predict("sst", tmp_path / name, tmp_path / output)
    assert not (tmp_path / "out.csv").exists()

import json
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.inference.demo import build_demo, load_demo_models, prediction_html, serve_demo
from extrabert_hf.inference.explanation import explain
from extrabert_hf.inference.prediction_route import predict_request
from extrabert_hf.models import ExtraBertForMultiTask
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.tasks import PAPER_TASKS


@pytest.fixture
def folders(tiny_encoder, tmp_path):
    models = {}
    for task in ("sst", "sts"):
        models[task], tokenizer = build_model(tiny_encoder, PAPER_TASKS[task])
        models[task].save_pretrained(tmp_path / task)
        tokenizer.save_pretrained(tmp_path / task)
    ExtraBertForMultiTask.from_single_task(models, encoder_from="sst").save_pretrained(tmp_path / "both")
    tokenizer.save_pretrained(tmp_path / "both")
    return tmp_path


def predictions(page):
    return re.findall(r"<small>(.*?)</small><h4>(.*?)</h4>", page)


def test_a_model_of_several_tasks_stands_for_all_of_them(folders):
    models = load_demo_models([str(folders / "sst"), f"other={folders / 'both'}", str(folders / "sts")])
    assert {task: list(by_name) for task, by_name in models.items()} == {
        "sst": ["sst", "other"],
        "sts": ["other", "sts"],
    }


def test_two_models_of_a_task_need_two_names(folders):
    with pytest.raises(InputError, match="`models` must have names that differ, got 'sst' twice for 'sst'"):
        load_demo_models([str(folders / "sst"), f"sst={folders / 'both'}"])


def test_each_sentence_or_pair_is_predicted_by_each_model(folders):
    models = load_demo_models([str(folders / "sst"), str(folders / "sts"), f"a<b={folders / 'both'}"])
    first, second = "A warm <i>film</i> .", "not good"
    expected = {
        name: [explain(trained, [text]).prediction for text in (first, second)]
        for name, trained in models["sst"].items()
    }
    page = prediction_html(models["sst"], first, second)
    assert predictions(page) == [(name.replace("<", "&lt;"), expected[name][n]) for n in (0, 1) for name in expected]
    assert "<i>film" not in page
    pair = explain(models["sts"]["sts"], [first, second]).prediction
    assert predictions(prediction_html(models["sts"], first, second))[0] == ("sts", pair)
    assert prediction_html(models["sts"], first, " ") == '<p class="missing">Type two sentences.</p>'
    assert prediction_html(models["sst"], "", " ") == '<p class="missing">Type a sentence.</p>'


def test_the_page_predicts_over_http_and_names_no_other_machine(folders, monkeypatch):
    gradio = pytest.importorskip("gradio", reason="needs the extra `demo`")
    import gradio_client

    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    address = serve_demo([str(folders / "both")], "127.0.0.1", 0, block=False)
    client = gradio_client.Client(address, verbose=False)
    models = load_demo_models([str(folders / "both")])
    expected = [prediction_html(by_name, "not good", "a man plays") for by_name in models.values()]
    assert list(client.predict("not good", "a man plays", api_name="/predict")) == expected
    with urllib.request.urlopen(address) as page:
        text = page.read().decode()
    assert "fonts.googleapis" not in text
    with pytest.raises(InputError, match="`host` and `port` must be free and of this machine, got 127"):
        serve_demo([str(folders / "both")], "127.0.0.1", int(address.rsplit(":", 1)[1].rstrip("/")), block=False)
    gradio.close_all()


@pytest.fixture
def request_to_the_demo(folders, monkeypatch):
    """Sends a request to a demo whose environment would open the machine; returns status and body."""
    gradio = pytest.importorskip("gradio", reason="needs the extra `demo`")
    settings = {
        "ALLOWED_PATHS": "/",
        "SHARE": "True",
        "SERVER_NAME": "0.0.0.0",
        "ROOT_PATH": "/x",
        "MCP_SERVER": "True",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"GRADIO_{name}", value)
    address = serve_demo([str(folders / "sst")], "127.0.0.1", 0, block=False).rstrip("/")
    assert address.startswith("http://127.0.0.1:")

    def send(path, body=None, kind="application/json"):
        request = urllib.request.Request(address + path, data=body, headers={"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    yield send
    gradio.close_all()


def test_the_demo_serves_its_page_alone(request_to_the_demo):
    status, page = request_to_the_demo("/")
    assert status == 200 and "/x/" not in page
    for link in set(re.findall(r'(?:src|href)="\.?(/[^"]+)', page)):
        assert request_to_the_demo(link)[0] == 200, link
    form = b'--X\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello\r\n--X--\r\n'
    for prefix in ("", "/gradio_api"):
        assert request_to_the_demo(f"{prefix}/upload", form, "multipart/form-data; boundary=X")[0] == 404
        for path in (
            "/file=/etc/passwd",
            "/file/etc/passwd",
            "/component_server",
            "/proxy=http://localhost/",
            "/mcp/",
        ):
            assert request_to_the_demo(prefix + path)[0] in (404, 405), path
    for path in ("/docs", "/openapi.json", "/monitoring", "/static/../../etc/passwd", "/assets/%2e%2e/%2e%2e/x"):
        assert request_to_the_demo(path)[0] in (403, 404), path


def test_a_long_text_is_not_predicted(request_to_the_demo):
    def predict(text):
        status, body = request_to_the_demo("/gradio_api/call/predict", json.dumps({"data": [text, ""]}).encode())
        if status != 200:
            return status
        return request_to_the_demo(f"/gradio_api/call/predict/{json.loads(body)['event_id']}")[1]

    assert "<h4>" in predict("A <script>film</script>") and "<script>" not in predict("A <script>film</script>")
    long = predict(10_001 * "a")
    assert "Type at most 10,000 characters" in long and "<h4>" not in long
    assert predict(300_000 * "a") == 413


def test_a_port_that_is_none_is_refused(folders):
    with pytest.raises(InputError, match="`port` must be 0 to 65535, got 70000"):
        serve_demo([str(folders / "sst")], "127.0.0.1", 70_000)
    pytest.importorskip("gradio", reason="needs the extra `demo`")
    with pytest.raises(InputError, match=r"`host` and `port` must be free and of this machine, got 256\.0\.0\.1:0"):
        serve_demo([str(folders / "sst")], "256.0.0.1", 0)


def test_without_gradio_one_line_says_what_to_install(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"the demo needs gradio: pip install"):
        serve_demo([str(folders / "sst")], "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "the body must be JSON such as"),
        ('"\udcff"', "the body must be JSON such as"),
        ("[" * 100_000, "the body must be JSON such as"),
        ("[1]", r"the body must be a JSON object such as .*, got \[1\]"),
        ("{}", "`sentence1` must be a text of 1 to 10,000 characters of Unicode, got none"),
        ('{"sentence1": " "}', "`sentence1` must be a text of 1 to"),
        ('{"sentence1": 3}', "`sentence1` must be a text, got 3"),
        ('{"sentence1": "a", "sentence2": ["b"]}', "`sentence2` must be a text, got"),
        ('{"sentence1": "a\\ud800"}', "characters of Unicode, got 2"),
        (json.dumps({"sentence1": 10_001 * "a"}), "got 10,001"),
        ('{"sentence1": "a", "text": "b"}', "must be of sentence1, sentence2, model, task, got 'text'"),
        ('{"sentence1": "a", "model": "x"}', r"`model` must be one of \['sst', 'sts', 'both'\], got 'x'"),
        ('{"sentence1": "a", "task": "para"}', r"`task` must be one of \['sst', 'sts'\], got 'para'"),
        ('{"sentence1": "a", "task": "sst", "model": "sts"}', "`model` 'sts' does not have the `task` 'sst'"),
        ('{"sentence1": "a", "task": "sts"}', "`sentence2` must be the second sentence"),
        ('{"sentence1": "a", "sentence2": "b", "task": "sst"}', "`sentence2` must be left out"),
    ],
)
def test_a_wrong_request_is_named_in_one_line(body, message, some_models):
    with pytest.raises(InputError, match=message) as caught:
        predict_request(some_models, body.encode("utf-8", "surrogateescape"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.fixture(scope="module")
def some_models(tiny_encoder, tmp_path_factory):
    trained = {}
    for task in ("sst", "sts"):
        model, tokenizer = build_model(tiny_encoder, PAPER_TASKS[task])
        trained[task] = TrainedModel(model, tokenizer, PAPER_TASKS[task])
    return {"sst": {"sst": trained["sst"]}, "sts": {"sts": trained["sts"], "both": trained["sts"]}}


def test_a_request_gets_the_predictions_of_each_model_that_fits(some_models):
    first, second = "A warm film .", "not good"
    body = {"sentence1": first, "sentence2": second}
    (sst, sts, both) = predict_request(some_models, json.dumps(body).encode())["predictions"]
    expected = explain(some_models["sst"]["sst"], [first])
    assert sst["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert expected.prediction.startswith(sst["predicted_class"])
    assert PAPER_TASKS["sst"].class_names[sst["class_id"]] == sst["predicted_class"]
    pair = explain(some_models["sts"]["sts"], [first, second])
    assert (sts["task"], sts["model"], both["model"]) == ("sts", "sts", "both")
    assert pair.prediction.startswith(f"{sts['predicted_score']:.2f}")
    assert sts["predicted_score"] == both["predicted_score"]
    assert predict_request(some_models, json.dumps({"sentence1": first}).encode())["predictions"] == [sst]
    chosen = predict_request(some_models, json.dumps(body | {"model": "both"}).encode())["predictions"]
    assert chosen == [both]


def test_the_json_route_answers_with_its_status(request_to_the_demo):
    status, text = request_to_the_demo("/predict", b'{"sentence1": "A warm film"}')
    (prediction,) = json.loads(text)["predictions"]
    assert status == 200 and prediction["model"] == "sst" and sum(prediction["probabilities"].values()) > 0.99
    assert request_to_the_demo("/predict", b'{"sentence1": "A warm film"}', "text/plain") == (200, text)  # as curl -d
    status, text = request_to_the_demo("/predict", b"{")
    assert status == 400 and json.loads(text)["error"].startswith("the body must be JSON such as {")
    assert request_to_the_demo("/predict")[0] == 405
    status, text = request_to_the_demo("/predict", 300_000 * b"a")
    assert status == 413 and len(text.splitlines()) == 1


@pytest.mark.launch
def test_the_curl_command_of_the_documents_gets_what_they_show(folders):
    gradio = pytest.importorskip("gradio", reason="needs the extra `demo`")
    page = (Path(__file__).parents[2] / "docs" / "use_a_model.md").read_text(encoding="utf-8")
    command = re.search(r"```sh\n(curl http://127.0.0.1:7860/predict .*)\n```", page)[1]
    words = [f"attention={folders / 'sts'}", f"mean={folders / 'sts'}", str(folders / "sst")]
    address = serve_demo(words, "127.0.0.1", 0, block=False).rstrip("/")
    done = subprocess.run(
        shlex.split(command.replace("http://127.0.0.1:7860", address).replace("--json", "-sd")),
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown = json.loads(re.search(r"```json\n(.*?)\n```", page, re.DOTALL)[1])
    found = json.loads(done.stdout)
    for said in (shown, found):
        for prediction in said["predictions"]:
            assert isinstance(prediction.pop("predicted_score"), float)
    assert shown == found
    gradio.close_all()


def test_the_examples_are_offered_on_the_page(folders):
    gradio = pytest.importorskip("gradio", reason="needs the extra `demo`")
    models = load_demo_models([str(folders / "sst")])
    config = build_demo(models, [["own sentence", ""]]).get_config_file()
    (dataset,) = [each["props"] for each in config["components"] if each["type"] == "dataset"]
    assert dataset["samples"] == [["own sentence", ""]]
    assert gradio is not None

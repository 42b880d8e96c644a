"""A web page that shows the predictions of several models for typed sentences, side by side; and a JSON route."""

import html
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrabert_hf.errors import InputError, need_packages, one_line
from extrabert_hf.inference.explanation import STYLE, explain, to_fragment
from extrabert_hf.inference.prediction_route import MAX_CHARACTERS, predict_request
from extrabert_hf.pretrained.loading import TrainedModel, load_all_tasks
from extrabert_hf.pretrained.names import split_name

if TYPE_CHECKING:
    import gradio
    import starlette.routing

logger = logging.getLogger(__name__)

LAST_PORT = 65535
MAX_BODY = 2**18
"""Number of bytes of the largest request, enough for two texts."""
ROUTES = re.compile(
    r"/|/predict|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/(assets|static|svelte)/[\w./@-]+"
    r"|/gradio_api/(info|app_id|startup-events|heartbeat/\w+|queue/(join|data|status)/?|(call|run|api)/predict(/\w+)?/?)"
)
"""The JSON route, and the paths that the page uses. gradio also serves uploads and files, which are not found here."""

CARD_STYLE = """
.card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .8em 1em; margin-bottom: 1em }
.card h4 { margin: 0; font-size: 1.15em; overflow-wrap: anywhere }
.card small, .missing { opacity: .75 }
"""
"""CSS of the page. The colours are gradio's: they follow the colour scheme of the system."""
EXAMPLES = [
    ["A man is playing a guitar on the street.", "Someone plays the guitar outside."],
    ["How do I learn Python quickly?", "What is the fastest way to learn Python?"],
    ["A warm, funny and surprisingly honest film.", "The plot is thin and the jokes fall flat."],
]


def load_demo_models(words: Sequence[str]) -> dict[str, dict[str, TrainedModel]]:
    """
    Loads the models that a command line names.

    Args:
        words (`Sequence[str]`):
            Each word is `MODEL` or `NAME=MODEL`, where `MODEL` is a folder or Hub id. A multitask model is loaded for
            all of its tasks.

    Returns:
        `dict[str, dict[str, TrainedModel]]`: by task, the models by name.

    Raises:
        [`InputError`]: if a model can't be loaded, or two models of a task have the same name.
    """
    by_task: dict[str, dict[str, TrainedModel]] = {}
    for word in words:
        name, model = split_name(word)
        name = Path(model).resolve().name if name is None else name
        for task, trained in load_all_tasks(model).items():
            if name in by_task.setdefault(task, {}):
                raise InputError(f"`models` must have names that differ, got {name!r} twice for {task!r}: NAME=MODEL.")
            by_task[task][name] = trained
    return by_task


def prediction_html(models: dict[str, TrainedModel], first: str, second: str) -> str:
    """
    Predicts with each model of one task and returns the explained predictions as HTML, one card per model.

    Args:
        models (`dict[str, TrainedModel]`):
            Models of the same task by name.
        first (`str`):
            A sentence.
        second (`str`):
            Second sentence of the pair. For a task of single sentences it gets a separate prediction, unless it is
            empty.
    """
    sentences = [sentence.strip() for sentence in (first, second) if sentence.strip()]
    is_pair = next(iter(models.values())).task.is_pair
    if max(map(len, sentences), default=0) > MAX_CHARACTERS:
        return f'<p class="missing">Type at most {MAX_CHARACTERS:,} characters in a box.</p>'
    if len(sentences) < (2 if is_pair else 1):
        return f'<p class="missing">Type {"two sentences" if is_pair else "a sentence"}.</p>'
    cards = []
    for row in [sentences] if is_pair else [[sentence] for sentence in sentences]:
        for name, trained in models.items():
            explanation = explain(trained, row)
            heading = f"<small>{html.escape(name)}</small><h4>{html.escape(explanation.prediction)}</h4>"
            cards.append(f'<div class="card">{heading}{to_fragment(explanation)}</div>')
    return "".join(cards)


def build_demo(
    models: dict[str, dict[str, TrainedModel]], examples: Sequence[Sequence[str]] = EXAMPLES
) -> "gradio.Blocks":
    """Builds the page: two text boxes, examples, and a column for each task. The page loads no external resources."""
    import gradio

    def predict(first: str, second: str) -> list[str]:
        return [prediction_html(of_task, first, second) for of_task in models.values()]

    with gradio.Blocks(title="ExTraBERT", analytics_enabled=False, fill_width=True) as page:
        gradio.Markdown("# ExTraBERT\nA token with a stronger colour has a larger weight in the pooled vector.")
        with gradio.Row():
            limit = {"max_length": MAX_CHARACTERS, "min_width": 320}  # one below the other on a phone
            first = gradio.Textbox(label="Sentence", placeholder="first sentence", autofocus=True, **limit)
            second = gradio.Textbox(label="Second sentence", placeholder="for tasks with pairs", **limit)
        button = gradio.Button("Predict", variant="primary")
        columns = []
        with gradio.Row():
            for task in models:
                with gradio.Column(min_width=280):
                    gradio.HTML(f"<h2>{html.escape(task)}</h2>")
                    columns.append(gradio.HTML())
        gradio.Examples(list(map(list, examples)), [first, second], cache_examples=False)
        gradio.on([button.click, first.submit, second.submit], predict, [first, second], columns, api_name="predict")
    return page.queue(max_size=64, default_concurrency_limit=1)


class OnlyThePage:
    """
    ASGI middleware that returns status 404 for every path but [`ROUTES`], and with 413 for a body over [`MAX_BODY`].

    Args:
        app (`Callable`):
            The application behind.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Passes a request to the application, or refuses it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = dict(scope["headers"]).get(b"content-length", b"0" if scope["method"] in ("GET", "HEAD") else b"")
        status = 404 if not ROUTES.fullmatch(scope["path"]) else 411 if not length.isdigit() else 200
        if status == 200 and int(length) > MAX_BODY:
            status = 413
        if status == 200:
            return await self.app(scope, receive, send)
        reason = f"{HTTPStatus(status).phrase}\n".encode()
        headers = [(b"content-length", b"%d" % len(reason)), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        return await send({"type": "http.response.body", "body": reason})


def json_route(models: dict[str, dict[str, TrainedModel]]) -> "starlette.routing.Route":
    """Returns the route `POST /predict`, see [`predict_request`]; a wrong body has status 400 and an `error`."""
    from anyio import CapacityLimiter, to_thread
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    one_at_a_time = CapacityLimiter(1)  # as on the page

    async def predict(request: Request) -> JSONResponse:
        body = await request.body()
        try:
            return JSONResponse(await to_thread.run_sync(predict_request, models, body, limiter=one_at_a_time))
        except InputError as error:
            return JSONResponse({"error": one_line(error)}, status_code=HTTPStatus.BAD_REQUEST)

    return Route("/predict", predict, methods=["POST"])


def serve_demo(
    words: Sequence[str], host: str, port: int, *, examples: Sequence[Sequence[str]] = (), block: bool = True
) -> str:
    """
    Serves the page until Ctrl-C.

    Args:
        words (`Sequence[str]`):
            As for [`load_demo_models`].
        host (`str`):
            Address to listen on.
        port (`int`):
            0 to 65535; 0 selects a free port.
        examples (`Sequence[Sequence[str]]`, *optional*):
            Two sentences each, which a visitor can choose; the second may be empty. The default is [`EXAMPLES`].
        block (`bool`, defaults to `True`):
            Whether to wait for Ctrl-C; otherwise the function returns and the page is served in the background.

    Returns:
        `str`: the address of the page.

    Raises:
        [`InputError`]: if a model can't be loaded, the port is not free, or gradio is not installed.
    """
    if not 0 <= port <= LAST_PORT:
        raise InputError(f"`port` must be 0 to {LAST_PORT}, got {port}.")
    need_packages("the demo", "demo", "gradio")
    if ignored := sorted(name for name in os.environ if name.startswith("GRADIO_")):
        logger.warning("the demo ignores %s: its settings are its flags", ", ".join(ignored))
    for name in ignored:
        del os.environ[name]  # GRADIO_ALLOWED_PATHS, GRADIO_SHARE, ... would open the machine; some have no argument
    import gradio
    from starlette.middleware import Middleware

    try:
        socket.create_server((host, port)).close()  # gradio would try other ports for minutes
    except OSError as error:
        raise InputError(
            f"`host` and `port` must be free and of this machine, got {host}:{port}: {one_line(error)}"
        ) from error
    models = load_demo_models(words)
    page = build_demo(models, examples or EXAMPLES)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port or None,
        theme=gradio.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=STYLE + CARD_STYLE,
        footer_links=[],
        share=False,
        allowed_paths=[],
        root_path="",
        max_threads=4,
        state_session_capacity=100,
        show_error=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        app_kwargs={
            "middleware": [Middleware(OnlyThePage)],
            "routes": [json_route(models)],
            "docs_url": None,
            "openapi_url": None,
        },
        quiet=True,
        prevent_thread_lock=True,
    )
    logger.info("the demo runs at %s, press Ctrl-C to stop", address)
    if block:
        page.block_thread()
    return address

"""A web page on which one types sentences and sees what models answer, side by side."""

import html
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from extrabert_hf.errors import InputError, need_packages
from extrabert_hf.inference.explanation import STYLE, explain, to_fragment
from extrabert_hf.models import ExtraBertForOneTask
from extrabert_hf.pretrained.loading import load_all_tasks
from extrabert_hf.pretrained.names import split_name
from extrabert_hf.tasks import TaskSpec

if TYPE_CHECKING:
    import gradio


Loaded = tuple[ExtraBertForOneTask, PreTrainedTokenizerBase, TaskSpec]

logger = logging.getLogger(__name__)

LAST_PORT = 65535

CARD_STYLE = """
.card { border: 1px solid #d0d7de; border-radius: 8px; padding: .8em 1em; margin-bottom: 1em }
.card h4 { margin: 0; font-size: 1.15em } .card small, .missing { color: #59636e }
"""
EXAMPLES = [
    ["A man is playing a guitar on the street.", "Someone plays the guitar outside."],
    ["How do I learn Python quickly?", "What is the fastest way to learn Python?"],
    ["A warm, funny and surprisingly honest film.", "The plot is thin and the jokes fall flat."],
]


def load_demo_models(words: Sequence[str]) -> dict[str, dict[str, Loaded]]:
    """
    Loads the models that a command line names.

    Args:
        words (`Sequence[str]`):
            Each `MODEL` or `NAME=MODEL`, a folder or Hub id; a model of several tasks stands for all of them.

    Returns:
        `dict[str, dict[str, Loaded]]`: by task, and in it by name, a model with its tokenizer and task.

    Raises:
        [`InputError`]: if one can't be loaded, or two of a task have one name.
    """
    by_task: dict[str, dict[str, Loaded]] = {}
    for word in words:
        name, model = split_name(word)
        name = Path(model).resolve().name if name is None else name
        for loaded in load_all_tasks(model):
            task = loaded[2].name
            if name in by_task.setdefault(task, {}):
                raise InputError(f"`models` must have names that differ, got {name!r} twice for {task!r}: NAME=MODEL.")
            by_task[task][name] = loaded
    return by_task


def answer_html(models: dict[str, Loaded], first: str, second: str) -> str:
    """
    Lets models of one task answer, a card each: the answer, the words by their weight, and bars.

    Args:
        models (`dict[str, Loaded]`):
            By name.
        first (`str`):
            A sentence.
        second (`str`):
            Another one, to which a task of single sentences gives an answer of its own; may be empty there.
    """
    sentences = [sentence.strip() for sentence in (first, second) if sentence.strip()]
    is_pair = next(iter(models.values()))[2].is_pair
    if len(sentences) < (2 if is_pair else 1):
        return f'<p class="missing">Type {"two sentences" if is_pair else "a sentence"}.</p>'
    asked = [sentences] if is_pair else [[sentence] for sentence in sentences]
    cards = []
    for its in asked:
        for name, loaded in models.items():
            explanation = explain(*loaded, its)
            told = f"<small>{html.escape(name)}</small><h4>{html.escape(explanation.answer)}</h4>"
            cards.append(f'<div class="card">{told}{to_fragment(explanation)}</div>')
    return "".join(cards)


def build_demo(models: dict[str, dict[str, Loaded]]) -> "gradio.Blocks":
    """Builds the page: two sentences above, a column a task below. It asks for nothing outside this machine."""
    import gradio

    def answer(first: str, second: str) -> list[str]:
        return [answer_html(its, first, second) for its in models.values()]

    with gradio.Blocks(title="ExTraBERT", analytics_enabled=False, fill_width=True) as page:
        gradio.Markdown("# ExTraBERT\nDarker words weigh more in the vector of their sentence.")
        with gradio.Row():
            first = gradio.Textbox(label="Sentence", placeholder="one sentence", autofocus=True)
            second = gradio.Textbox(label="Second sentence", placeholder="for pairs, another one")
        button = gradio.Button("Answer", variant="primary")
        gradio.Examples(EXAMPLES, [first, second])
        columns = []
        with gradio.Row():
            for task in models:
                with gradio.Column(min_width=320):
                    gradio.Markdown(f"## {task}")
                    columns.append(gradio.HTML())
        gradio.on([button.click, first.submit, second.submit], answer, [first, second], columns, api_name="answer")
    return page


def serve_demo(words: Sequence[str], host: str, port: int, *, block: bool = True) -> str:
    """
    Serves the page until it is interrupted.

    Args:
        words (`Sequence[str]`):
            As for [`load_demo_models`].
        host (`str`):
            Address to listen on.
        port (`int`):
            0 to 65535; 0 for any that is free.
        block (`bool`, defaults to `True`):
            Whether to wait for the interruption.

    Returns:
        `str`: the page's address.
    """
    if not 0 <= port <= LAST_PORT:
        raise InputError(f"`port` must be 0 to {LAST_PORT}, got {port}.")
    need_packages("the demo", "demo", "gradio")
    import gradio

    try:
        socket.create_server((host, port)).close()  # gradio tries others, and goes on for minutes
    except OSError as error:
        raise InputError(f"`host` and `port` must be free and of this machine, got {host}:{port}: {error}") from error
    page = build_demo(load_demo_models(words))
    _, address, _ = page.launch(
        server_name=host,
        server_port=port or None,
        theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=STYLE + CARD_STYLE,
        footer_links=[],
        share=False,  # whatever GRADIO_SHARE says
        quiet=True,
        prevent_thread_lock=True,
    )
    logger.info("the page is at %s, until Ctrl-C", address)
    if block:
        page.block_thread()
    return address

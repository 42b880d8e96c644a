"""The page of `--help`: each flag once, no empty defaults, lines as wide as the terminal."""

import textwrap
from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter
from collections.abc import Iterable
from typing import Any

FURTHER = "all flags of transformers' TrainingArguments"
"""Title of the group of flags that only `--help_all` shows."""

MOST_CHOICES = 6
"""A flag with more choices than this lists the choices in its description."""

VALUES = {
    **{"int": "INT", "float": "FLOAT", "string_to_bool": "true|false", "Path": "FILE"},
    **dict.fromkeys(("output_dir", "output_folder"), "DIR"),
    **dict.fromkeys(("model_name_or_path", "teachers", "tokenizer"), "MODEL"),
    **dict.fromkeys(("data",), "SOURCE"),
    **dict.fromkeys(("output", "dev_data", "test_data", "extra_train"), "FILE"),
    **dict.fromkeys(("config", "task", "task_name", "class_names", "tasks", "train_tasks"), "NAME"),
}
"""By the type or the name of a flag, the placeholder for the value."""


class _Formatter(HelpFormatter):
    """The layout of the page. No word is split over two lines, so that each flag can be copied."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = [name for name in action.option_strings if "-" not in name.lstrip("-")]
        value = "" if action.nargs == 0 else f" {self._format_args(action, self._value(action))}"
        return f"{', '.join(names)}{value}"

    def _format_args(self, action: Action, default_metavar: str) -> str:
        name = action.metavar or self._value(action)
        if not action.option_strings and action.metavar is None:
            name = action.dest
        forms = {None: "{}", "?": "[{}]", "+": "{} ...", "*": "[{} ...]"}
        return forms[action.nargs].format(name) if action.nargs in forms else super()._format_args(action, name)

    def _value(self, action: Action) -> str:
        if action.choices is not None:
            few = len(list(action.choices)) <= MOST_CHOICES
            return "|".join(map(str, action.choices)) if few else "NAME"
        kind = VALUES.get(getattr(action.type, "__name__", "str"))
        return action.metavar or VALUES.get(action.dest) or kind or ("NAME" if "column" in action.dest else "TEXT")

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if action.choices is not None and len(list(action.choices)) > MOST_CHOICES:
            text += f" One of {', '.join(map(str, action.choices))}."
        default = action.default
        if default is None or default is False or default in (SUPPRESS, "", []) or "default" in text.lower():
            return text
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        shown = shown.lower() if default is True else shown
        return f"{text} (default: {shown.replace('%', '%%')})".strip()

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Keeps indented lines, which are commands, as they are, and wraps all other lines."""
        paragraphs = []
        for paragraph in text.strip("\n").split("\n\n"):
            if paragraph.startswith(" "):
                paragraphs.append(textwrap.indent(paragraph, indent))
            else:
                options = {"initial_indent": indent, "subsequent_indent": indent, "break_on_hyphens": False}
                joined = " ".join(paragraph.split())
                paragraphs.append(textwrap.fill(joined, width, break_long_words=False, **options))
        return "\n\n".join(paragraphs)

    def add_flags(self, title: str | None, actions: Iterable[Action]) -> None:
        """Adds a group of arguments."""
        self.start_section(title)
        self.add_arguments(actions)
        self.end_section()


def help_page(parser: ArgumentParser, *, everything: bool) -> str:
    """
    Writes the page of `--help`, or of `--help_all`.

    Args:
        parser (`ArgumentParser`):
            The parser of the command. Its group [`FURTHER`] is only shown with `everything`.
        everything (`bool`):
            Whether to show all flags.
    """
    formatter = _Formatter(parser.prog)
    formatter.add_usage(parser.usage or _usage(parser, formatter), [], [])
    formatter.add_text(parser.description)
    further: list[Action] = []
    has_further = any(group.title == FURTHER for group in parser._action_groups)
    for group in parser._action_groups:
        actions = [each for each in one_a_name(group._group_actions) if has_further or each.dest != "help_all"]
        if group.title == FURTHER and not everything:
            further = actions
        elif actions:
            formatter.add_flags(group.title, actions)
    if further:
        formatter.add_text(f"{len(further)} further flags of transformers' TrainingArguments:")
        formatter.add_text(f"    {parser.prog} --help_all")
    return formatter.format_help()


def one_a_name(actions: Iterable[Action]) -> list[Action]:
    """Returns the arguments of a page: the first of each name, so `--unpad` without `--no_unpad`."""
    first: dict[Any, Action] = {}
    for action in actions:
        if action.help != SUPPRESS:
            key = action.dest if action.dest != SUPPRESS else tuple(action.option_strings)
            first.setdefault(key, action)
    return list(first.values())


def _usage(parser: ArgumentParser, formatter: _Formatter) -> str:
    """Returns the usage: the arguments without a flag, the required flags, and `[flags]` for the others."""
    actions = parser._actions
    words = [formatter._format_args(action, action.dest) for action in actions if not action.option_strings]
    words += [
        formatter._format_action_invocation(action) for action in actions if action.required and action.option_strings
    ]
    return " ".join([parser.prog, *words, "[flags]"]).replace("%", "%%")

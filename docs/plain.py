"""A Griffe extension: docstrings are plain text with `code`, so what Markdown or HTML would read into them is escaped."""

import re
from typing import Any

import griffe

_CODE = re.compile(r"(```.*?```|``.*?``|`[^`]*`)", re.DOTALL)


def escape(text: str) -> str:
    """`<psi|`, 2**n and [low, high] as they are written; lists, code and paragraphs stay."""
    parts = _CODE.split(text)
    return "".join(part if i % 2 else _escape(part) for i, part in enumerate(parts))


def _escape(text: str) -> str:
    text = text.replace("<", "&lt;").replace("[", r"\[").replace("]", r"\]")
    return re.sub(r"(?<!^)(?<!\n)\*|\*(?! )", r"\*", text)


class Plain(griffe.Extension):
    """Escapes every docstring that Griffe reads."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = escape(obj.docstring.value)

"""A Griffe extension: docstrings are plain text with `code`, so what Markdown or HTML would read into them is escaped."""

import re
from typing import Any

import griffe

_CODE = re.compile(r"(```.*?```|``.*?``|`[^`]*`)", re.DOTALL)
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")


def escape(text: str) -> str:
    """<psi|, 2**n and [low, high] as they are written; lists, paragraphs and code, `so` or indented, stay."""
    lines, section, code = [], False, False
    blank = True
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip():
            section = (section and indent > 0) or bool(_SECTION.match(line))
            code = indent >= (8 if section else 4) and (code or blank)
        lines.append(f"{_MARK}{line}" if code and line.strip() else line)
        blank = not line.strip()
    prose = "\n".join(lines)
    parts = _CODE.split(prose)
    escaped = "".join(part if i % 2 else "\n".join(map(_escape, part.split("\n"))) for i, part in enumerate(parts))
    return escaped.replace(_MARK, "")


_MARK = "\0"
"""At the start of a line of indented code."""


def _escape(line: str) -> str:
    if line.startswith(_MARK):
        return line
    line = line.replace("<", "&lt;").replace("[", r"\[").replace("]", r"\]")
    return re.sub(r"(?<!^)\*|\*(?! )", r"\*", line)


class Plain(griffe.Extension):
    """Escapes every docstring that Griffe reads."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = escape(obj.docstring.value)

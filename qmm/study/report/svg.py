"""A figure -> SVG that a page holds: its colours are the page's, its names its own, and it asks for nothing."""

import io
import re
from collections.abc import Container
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from qmm.study.report.style import VARIABLES, any_letters

_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_FONT = re.compile(r"font-family:[^;]*;?\s*")
_COLOUR = re.compile("|".join(VARIABLES))
_DIGITS = re.compile(r"(\d+\.\d\d)\d+")


def render(figure: Figure, key: str, outlines: bool = False) -> str:
    """An SVG file as Matplotlib writes it, the same each time; `outlines`: letters as shapes, where their place matters."""
    file = io.StringIO()
    fonts: dict[Any, Any] = {"svg.fonttype": "path" if outlines else "none", "svg.hashsalt": key}
    with mpl.rc_context(fonts), any_letters():
        figure.draw_without_rendering()  # lays it out
        figure.set_layout_engine("none")  # once, not before each file
        figure.savefig(file, format="svg", transparent=not outlines, metadata=_NO_METADATA)
    return file.getvalue()


def inline(svg: str, key: str, title: str, description: str, themed: bool = True, scale: float = 1.0) -> str:
    """The `svg` element for a page: named for who does not see it; without style sheet, clips, or links out of itself.

    `key` is the page's own name for it, by which its inner names differ from those of other pictures.
    """
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}style", f"{_SVG}clipPath", f"{_SVG}metadata"):
                parent.remove(child)
    used = {element.attrib[_HREF].removeprefix("#") for element in root.iter() if _HREF in element.attrib}
    for element in root.iter():
        _make_own(element, key, themed, used)
    width, height = root.attrib.pop("width"), root.attrib.pop("height")
    root.attrib.pop("version", None)
    root.attrib |= {
        "role": "img",
        "aria-labelledby": f"{key}-title {key}-desc",
        "focusable": "false",
        "width": f"{float(width.removesuffix('pt')) * scale * 4 / 3:.0f}",
        "height": f"{float(height.removesuffix('pt')) * scale * 4 / 3:.0f}",
    }
    named = [("title", title), ("desc", description)]
    for place, (tag, text) in enumerate(named):
        element = ElementTree.Element(tag, {"id": f"{key}-{tag}"})
        element.text = text
        root.insert(place, element)
    return ElementTree.tostring(root, encoding="unicode")


def _make_own(element: ElementTree.Element, key: str, themed: bool, used: Container[str]) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    if element.text is not None and not element.text.strip():
        element.text = None
    if element.tail is not None and not element.tail.strip():
        element.tail = None
    attributes = element.attrib
    attributes.pop("clip-path", None)
    if _HREF in attributes:  # to a mark defined once
        attributes["href"] = f"#{key}-{attributes.pop(_HREF).removeprefix('#')}"
    if (name := attributes.pop("id", "")) in used:
        attributes["id"] = f"{key}-{name}"
    if "d" in attributes:
        attributes["d"] = _DIGITS.sub(r"\1", " ".join(attributes["d"].split()))
    if "style" in attributes:
        style = _FONT.sub("", attributes["style"])
        attributes["style"] = _COLOUR.sub(lambda found: f"var({VARIABLES[found[0]]})", style) if themed else style

"""What a page says -> one HTML file that needs nothing else."""

import base64
import re
from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from qmm.study.report.parts import Page, Picture, Table
from qmm.study.report.svg import inline, render

_NUMBER = re.compile(r"^[\[<]? ?[+\-−]?\d[^A-Za-z]*$|^–?$")

_CIRCUIT = 0.8
"""Of the size on paper: letters are then as large as the page's small ones."""


def slug(text: str) -> str:
    """Letters, digits and hyphens: for names of files and anchors."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def keyed(page: Page) -> dict[str, Picture]:
    """Every plot by a name that is the page's own."""
    found: dict[str, Picture] = {}
    for section in page.sections:
        for picture in (*section.pictures, *section.more_pictures):
            name = slug(picture.key) if picture.key.startswith(section.key) else f"{section.key}-{slug(picture.key)}"
            while name in found:
                name += "-again"
            found[name] = picture
    return found


def rendered(page: Page) -> dict[str, str]:
    """Every plot as an SVG file, by name."""
    return {name: render(picture.figure, name, outlines=picture.is_wide) for name, picture in keyed(page).items()}


def numeric(table: Table) -> list[bool]:
    """Of each column, whether it holds numbers alone."""
    return [all(_NUMBER.match(cell) for cell in cells) for cells in zip(*table.rows, strict=True)]


def html(page: Page, svgs: Mapping[str, str]) -> str:
    """The page; `svgs` as of `rendered`. Everything that is not ours is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["numeric"] = numeric
    environment.filters["data_uri"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    environment.filters["width"] = _width
    here = files("qmm.study.report")
    template = environment.from_string((here / "page.html.j2").read_text(encoding="utf-8"))
    style = Markup((here / "page.css").read_text(encoding="utf-8"))
    pictures = {id(picture): Markup(_drawn(svgs[name], name, picture)) for name, picture in keyed(page).items()}

    def shown(picture: Picture) -> Markup:
        return pictures[id(picture)]

    return template.render(page=page, style=style, drawn=shown)


def _width(png: bytes) -> Markup:
    """The attribute by which a circuit's PNG, 110 pixels an inch as runs draw it, is as large as one of ours."""
    if not png.startswith(b"\x89PNG"):
        return Markup("")
    return Markup(' width="{}"').format(round(int.from_bytes(png[16:20], "big") * _CIRCUIT * 96 / 110))


def _drawn(svg: str, name: str, picture: Picture) -> str:
    own = (svg, name, picture.title, picture.description)
    return inline(*own, themed=False, scale=_CIRCUIT) if picture.is_wide else inline(*own)

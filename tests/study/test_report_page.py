"""The page that a report is, as it stands in its file: for everybody, and for itself."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qmm.study.report import write_report
from qmm.study.report.page import slug
from qmm.study.report.reading import compared
from qmm.study.report.sections import page as content_of
from qmm.study.report.style import INK, PAPER, SERIES, VARIABLES, look
from qmm.study.statistics import claims as claims_of

HOSTILE = ("a<script>alert(1)</script>", 'b" onload="x', "c & d's |$x_1$|", "</style><img src=http://x.invalid/y>")
"""Names of arms that no page may take for its own words."""
CLASSES = ("<b>bold</b>", '"quoted"', "$z$")
VOID = {"meta", "img", "br", "hr", "link", "input"}
COMMAND = 'qmm study --config "x y.yaml" -- --a <b>'


class Page(HTMLParser):
    """Elements in order, with their attributes and the text directly inside."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, *tags: str) -> list[tuple[str, dict[str, str]]]:
        return [(tag, attributes) for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module")
def folder(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with all that there may be, and names that are hard on a page."""
    home = tmp_path_factory.mktemp("report")
    study = made_up.study(HOSTILE, seeds=3, counterparts=False)
    outcome = made_up.outcome(study, (100, 400, -1), classes=CLASSES)
    write_report(study, outcome, home, COMMAND)
    return home


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def test_the_page_asks_nothing_of_anywhere(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form", "image", "foreignobject")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "poster", "data", "action"):
                assert value.startswith("#" if name != "src" else "data:image/png;base64,"), (tag, name, value)
            if name == "style":
                assert "url(" not in value
    style = "".join(text for tag, text in page.words if tag == "style")
    assert style
    assert "url(" not in style
    assert "@import" not in style
    assert page.all("style") == [("style", {})]
    policy = next(a["content"] for _, a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")  # a browser enforces it, too


def test_links_within_the_page_lead_somewhere_and_names_are_given_once(page: Page) -> None:
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = {attributes["href"].removeprefix("#") for _, attributes in page.elements if "href" in attributes}
    told = {name for _, a in page.elements for name in a.get("aria-labelledby", "").split()}
    assert links | told <= set(names)


def test_the_page_is_there_for_everybody(page: Page) -> None:
    assert page.all("html") == [("html", {"lang": "en"})]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for _, attributes in page.all("svg"):
        assert attributes["role"] == "img"
        assert attributes["aria-labelledby"]
    assert len(page.all("svg")) > 10
    assert [tag for tag, _ in page.all("svg", "desc")] == ["svg", "desc"] * len(page.all("svg"))
    assert all(attributes.get("alt") for _, attributes in page.all("img"))
    assert {attributes["scope"] for _, attributes in page.all("th")} == {"row", "col"}
    assert all(attributes["aria-labelledby"] for _, attributes in page.all("table"))
    first = next(attributes for tag, attributes in page.elements if tag == "a")
    assert first["class"] == "skip"


def test_names_stay_names(page: Page, folder: Path) -> None:
    said = " ".join(text for _, text in page.words)
    text = (folder / "report.html").read_text()
    for name in (*HOSTILE, "<b>bold</b>", COMMAND):
        assert name in said
    for markup in ("<script", "<b>", "<img src=http"):
        assert markup not in text
    assert set(page.open) == set()  # what was opened was closed, so no name has opened anything


def test_every_plot_and_table_lies_beside_the_page(folder: Path, page: Page) -> None:
    beside = {path.name for path in (folder / "report").iterdir()}
    drawn = {attributes["aria-labelledby"].split("-title ")[0] for _, attributes in page.all("svg")}
    assert {f"{name}.svg" for name in drawn} | {f"{name}.png" for name in drawn} <= beside
    listed = {"arms", "metrics", "differences", "low-data", "low-data-areas", "robustness", "confusion", "versions", "cells"}
    assert {f"{name}.csv" for name in listed} <= beside
    assert len(pd.read_csv(folder / "report" / "cells.csv")) == len(HOSTILE) * 3 * 3
    assert (folder / "summary.png").is_file()


def test_verdicts_are_those_of_the_statistics(made_up: Any, folder: Path, page: Page) -> None:
    study = made_up.study(HOSTILE, seeds=3)
    found = pd.read_csv(folder / "report" / "differences.csv")
    claims = claims_of(made_up.outcome(study, (100, 400, -1), classes=CLASSES).table, HOSTILE, "accuracy")
    assert found["p"].tolist() == pytest.approx([claim.seeds.p for claim in claims])
    said, text = [text for _, text in page.words], (folder / "summary.md").read_text()
    for claim in claims:
        assert claim.in_words() in said
        assert claim.in_words() in text


def luminance(colour: str) -> float:
    """Relative, of WCAG 2."""
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def test_colours_stand_out_in_the_light_and_in_the_dark(repository: Path) -> None:
    style = (repository / "qmm" / "study" / "report" / "page.css").read_text()
    light, dark = style.split("prefers-color-scheme: dark")
    themes = [dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{6});", part)) for part in (light, dark)]
    assert themes[0].keys() == themes[1].keys()
    assert {variable: themes[0][variable] for variable in VARIABLES.values()} == {v: c for c, v in VARIABLES.items()}
    for theme in themes:
        for ground, inks in {
            "--paper": ("--ink", "--muted", "--link", *(f"--series-{k}" for k in range(1, 9))),
            "--card": ("--ink", "--series-1", "--series-2"),
            "--warn-card": ("--ink", "--warn"),
        }.items():
            for ink in inks:
                low, high = sorted((luminance(theme[ground]), luminance(theme[ink])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ground, ink)
        # a full cell of a confusion matrix lays 0.48 of the first series' colour over the paper
        over, under = ([int(theme[name][k : k + 2], 16) for k in (1, 3, 5)] for name in ("--series-1", "--paper"))
        cell = "#" + "".join(f"{round(0.48 * a + 0.52 * b):02x}" for a, b in zip(over, under, strict=True))
        low, high = sorted((luminance(cell), luminance(theme["--ink"])))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_series_differ_without_colour() -> None:
    assert len({look(place)[1:] for place in range(32)}) == 32
    assert {INK, PAPER, *SERIES} <= set(VARIABLES)


def test_files_are_named_after_what_they_show() -> None:
    assert slug("noise on <Vision>/x") == "noise-on-vision-x"
    assert slug("量子") == "unnamed"


def test_sections_are_there_when_columns_are(made_up: Any) -> None:
    study = made_up.study(("a", "b"), seeds=2)
    always = ["Arms", "Differences", "Cost"]
    rich = ["With less data", "With noise, and without a modality", "What was taken for what", "Training", "Configuration"]
    for outcome, wanted in (
        (made_up.outcome(study, (50, 100)), [*always, *rich]),
        (made_up.outcome(study, rich=False), always),
    ):
        content = content_of(study, outcome, compared(study, outcome.table), "x", {})
        assert sorted(section.heading for section in content.sections) == sorted(wanted)

"""The report's files: summary.md, summary.png, report.html, and beside it each plot and each table."""

from pathlib import Path

import numpy as np
import pandas as pd

from qmm.errors import InputError
from qmm.study.plan import Study
from qmm.study.report.figures import plot
from qmm.study.report.markdown import summary
from qmm.study.report.page import html, keyed, rendered, slug
from qmm.study.report.parts import Page
from qmm.study.report.reading import chosen_by, compared, largest, present
from qmm.study.report.sections import page
from qmm.study.report.style import any_letters
from qmm.study.report.training import first_cells, with_dynamics
from qmm.study.runner import Outcome

_DPI = 160
_OURS = (".png", ".svg", ".csv")
_LONGEST = 4000
"""Pixels of a picture's longer side."""


def write_report(study: Study, outcome: Outcome, folder: Path, command: str) -> str:
    """Writes into the study's folder: summary.md, summary.png, report.html (one page that needs nothing else), and in `report/`
    every plot (PNG, SVG) and every table (CSV), `cells.csv` among them. Returns the summary."""
    outcome = outcome._replace(table=with_dynamics(outcome.table, folder))
    found = compared(study, outcome.table)
    text = summary(study, outcome, command, found)
    (folder / "summary.md").write_text(text, encoding="utf-8")
    with any_letters():
        plot(study, largest(outcome.table)).savefig(folder / "summary.png", dpi=110)
    content = page(study, outcome, found, command, first_cells(study, outcome.table, folder))
    svgs = rendered(content)
    (folder / "report.html").write_text(html(content, svgs), encoding="utf-8")
    beside = folder / "report"
    beside.mkdir(exist_ok=True)
    for path in beside.iterdir():
        if path.suffix in _OURS:  # of a report before: an arm that is gone must not stay
            path.unlink()
    (beside / "command.txt").write_text(command + "\n", encoding="utf-8")
    for name, svg in svgs.items():
        (beside / f"{name}.svg").write_text(svg, encoding="utf-8")
    _write_pictures(content, beside)
    _write_tables(content, outcome.table, beside)
    return text


def _write_pictures(content: Page, beside: Path) -> None:
    with any_letters():
        for name, picture in keyed(content).items():
            dots = min(_DPI, _LONGEST / max(picture.figure.get_size_inches()))
            picture.figure.savefig(beside / f"{name}.png", dpi=dots)
    for section in content.sections:
        for bitmap in section.bitmaps:
            (beside / f"{slug(bitmap.key)}.png").write_bytes(bitmap.png)


def _write_tables(content: Page, table: pd.DataFrame, beside: Path) -> None:
    for section in content.sections:
        for own in (*section.tables, *section.more_tables):
            own.frame.to_csv(beside / f"{slug(own.key)}.csv", index=False)
    scalars = [name for name in table.columns if name != "config" and table[name].map(np.isscalar).all()]
    table[scalars].to_csv(beside / "cells.csv", index=False)


def rebuild(study: Study, folder: Path, command: str | None = None) -> str:
    """The report of a study whose results.parquet (and tuning.parquet) lie in the folder, cells or not; `command` is by default
    the one of the last report. Returns the summary."""
    if not (folder / "results.parquet").is_file():
        raise InputError(f"{folder} holds no results.parquet: no cell of {study.name} is finished, or the study ran elsewhere")
    table = pd.read_parquet(folder / "results.parquet")
    if not present(study, table):
        raise InputError(f"results.parquet in {folder} has none of the arms {', '.join(study.arms)}; is it another study's?")
    if study.metric not in table:
        raise InputError(
            f"results.parquet in {folder} has no {study.metric!r}; set `metric` to one of {', '.join(table.columns)}"
        )
    tuned = folder / "tuning.parquet"
    trials = pd.read_parquet(tuned) if tuned.is_file() else pd.DataFrame()
    known = folder / "report" / "command.txt"
    if command is None:
        command = known.read_text(encoding="utf-8").strip() if known.is_file() else f"qmm study --folder {folder} --report"
    return write_report(study, Outcome(table, trials, chosen_by(table), {}), folder, command)

"""The documentation site builds without a warning, its links lead somewhere, and it asks no other place for anything."""

import base64
import html
import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from qmm.cli import COMMANDS
from qmm.fusion import QuantumFusion

PAGES = sorted((Path(__file__).parents[1] / "docs").rglob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


class Links(HTMLParser):
    """What a page links to, what it loads while it is read, and its anchors."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next") and "href" in given:
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])


@cache
def read(page: Path) -> Links:
    return Links(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings_handlers"):
        if importlib.util.find_spec(package) is None:
            # only where somebody runs the tests without the extra: the gate installs it
            pytest.skip(f"{package} is not installed; the extra `docs` has it")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=repository, capture_output=True, text=True,
        # other tests draw the gallery, and run the notebooks
        env={**os.environ, "QMM_DOCS_GALLERY": "0", "QMM_DOCS_NOTEBOOKS": "0", "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def hooks(site: Path, repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("documentation_hooks", repository / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_lead_somewhere(site: Path) -> None:
    broken, followed = [], 0
    for page in site.rglob("*.html"):
        for link in read(page).links + read(page).loads:
            parts = urlsplit(link)
            if parts.scheme or page.name == "404.html":  # the error page's links are those of a server's root
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            followed += 1
            if not target.is_file() or (anchor and target.suffix == ".html" and anchor not in read(target).anchors):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []
    assert followed > 1000


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert [(page.name, load) for page in pages for load in read(page).loads if re.match(r"(\w+:)?//", load)] == []
    foreign = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import")
    assert [style.name for style in site.rglob("*.css") if foreign.search(style.read_text(encoding="utf-8"))] == []


def test_what_packages_export_is_in_the_reference(site: Path, hooks: ModuleType) -> None:
    for name in hooks.PACKAGES:
        missing = set(hooks.exported(name)) - read(site / "reference" / f"{name}.html").anchors
        assert not missing, f"{name}: {sorted(missing)}"
    assert "qmm.encoders.vision.ViTEncoder" in read(site / "reference" / "qmm.encoders.html").anchors


def test_docstrings_are_shown_as_they_are_written(site: Path) -> None:
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (site / "reference").iterdir()}
    text = {name: html.unescape(re.sub(r"<[^>]+>", "", page)) for name, page in pages.items()}
    assert "(B, n_outputs), float32 or float64" in text["qmm.quantum"]
    assert "<Z> of every qubit, then <ZZ> of every two qubits" in text["qmm.circuits"]
    assert "|<phi(x)|phi(y)>|**2" in text["qmm.encoders"]
    assert [name for name, shown in text.items() if r"\[" in shown or r"\*" in shown or "&lt;" in shown] == []


def test_notebooks_are_pages(site: Path, hooks: ModuleType, repository: Path) -> None:
    wanted = {path.stem for path in (repository / "notebooks").glob("*.ipynb")}
    assert {page.stem for page in (site / "notebooks").glob("*.html")} == wanted
    linked = {Path(link).stem for link in read(site / "index.html").links if "notebooks/" in link}
    assert wanted <= linked  # by the navigation
    png = base64.b64encode(b"\x89PNG a picture").decode()
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="a progress bar"),
        nbformat.v4.new_output("stream", name="stdout", text="what was computed"),
        nbformat.v4.new_output("display_data", {"image/png": png, "text/plain": "<Figure>"}),
        nbformat.v4.new_output("display_data", {"text/html": "\n    <audio controls></audio>", "text/plain": "<Audio>"}),
    ]
    cells = [nbformat.v4.new_markdown_cell("# One"), nbformat.v4.new_code_cell("draw()", outputs=outputs)]
    text, pictures = hooks.notebook_page(nbformat.v4.new_notebook(cells=cells), "one")
    ((name, content),) = pictures.items()
    assert content == b"\x89PNG a picture"
    assert f"![One: picture]({name})" in text
    assert "what was computed" in text
    assert "\n<audio controls></audio>" in text
    assert "progress" not in text


def test_pages_name_commands_and_files_that_exist(repository: Path) -> None:
    for page in PAGES:
        given = " ".join(blocks(page, "bash"))
        assert set(re.findall(r"\bqmm ([a-z]+)", given)) <= set(COMMANDS), page.name
        named = set(re.findall(r"configs/[\w/]+\.yaml", page.read_text(encoding="utf-8")))
        assert [name for name in named if not (repository / name).is_file()] == [], page.name


def test_python_of_the_readme_stands_on_the_page_too(repository: Path) -> None:
    """tests/test_readme.py runs it, tests/test_ways_in.py what else is there."""
    page = repository / "docs" / "howto" / "lightning.md"
    assert set(blocks(repository / "README.md", "python")) < set(blocks(page, "python"))


def test_the_fusion_part_of_the_page_works(repository: Path) -> None:
    (code,) = blocks(repository / "docs" / "howto" / "fusion.md", "python")
    made: dict[str, type] = {"__name__": str}
    exec(code, made)
    fusion = QuantumFusion(1, entangler=made["Chain"]("cz"))
    fusion.build({"vision": 2, "audio": 2, "text": 2})
    meet = {
        tuple(sorted(fusion.layout.owner(circuit.find_bit(q).index) for q in gate.qubits))
        for circuit in [fusion.circuit().quantum_circuit]
        for gate in circuit.data
        if gate.name == "cz"
    }
    assert meet == {("audio", "vision"), ("audio", "text")}

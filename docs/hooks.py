"""MkDocs' hooks: pages that are made of the tree (reference, notebooks, benchmarks, gallery), and links that leave docs/.

Nothing here knows a name: what a package exports is what its page shows.
"""

import hashlib
import inspect
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.notebooks")
DOCS = Path(__file__).parent
ROOT = DOCS.parent
KEPT = ROOT / ".notebooks_cache"
"""Notebooks that were run for the site, by their content; delete it to run them again."""
PACKAGES = (
    "qmm",
    "qmm.quantum",
    "qmm.circuits",
    "qmm.fusion",
    "qmm.encoders",
    "qmm.data",
    "qmm.decoders",
    "qmm.tasks",
    "qmm.training",
    "qmm.initialisers",
    "qmm.optimisers",
    "qmm.geometry",
    "qmm.regularisation",
    "qmm.discrete",
    "qmm.metrics",
    "qmm.language",
    "qmm.checking",
    "qmm.study",
    "qmm.study.report",
    "qmm.study.statistics",
    "qmm.validation",
    "qmm.search",
    "qmm.trainability",
    "qmm.robustness",
)
EXTRA = {"qmm": ("qmm.contracts", "qmm.config", "qmm.registers", "qmm.errors", "qmm.types")}
"""Modules that belong on a package's page though it does not export them: all that is public in them is shown."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Packages go below "Reference"; pages that mkdocs.yml does not name are reports, and go below the evidence."""
    parts = {title: below for part in config.nav or [] for title, below in part.items()}
    parts["Reference"].extend({name: f"reference/{name}.md"} for name in PACKAGES)
    pages = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    named = set(_named(config.nav))
    parts["What the evidence says"].extend(page for page in pages if page not in named)
    return config


def _named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(part)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    made = {f"reference/{name}.md": _reference(name) for name in PACKAGES}
    made["reference/index.md"] = _contents()
    made["benchmarks.md"] = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(_run(path), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    files.append(File.generated(config, "gallery/index.html", content=_gallery()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to the tree outside docs/ become the path as text: the site holds no copies of sources.

    Raises FileNotFoundError where the tree does not have what a page links to.
    """
    return re.sub(r"\[([^\]]*)\]\((\.\./[^)#]+)\)", lambda link: _outside(link, DOCS / page.file.src_uri), markdown)


def _outside(link: re.Match[str], page: Path) -> str:
    target = (page.parent / link[2]).resolve()
    if DOCS in target.parents:
        return link[0]
    if not target.exists():
        raise FileNotFoundError(f"{page.name} links to {link[2]}, which the repository does not have")
    path = str(target.relative_to(ROOT))
    label = link[1].strip("`/")
    return f"`{path}`" if label in path else f"{link[1]} (`{path}`)"


def exported(name: str) -> dict[str, str]:
    """Classes and functions that a package exports: where each is defined, and its name; lazily resolved names are resolved."""
    package = import_module(name)
    found = {}
    for export in sorted(package.__all__, key=str.lower):
        value: Any = getattr(package, export)
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("qmm."):
            found.setdefault(f"{value.__module__}.{value.__qualname__}", export)
    return found


def _reference(name: str) -> str:
    about = inspect.getdoc(import_module(name)) or ""
    shown = [f"::: {path}\n    options: {{heading: {label}}}\n" for path, label in exported(name).items()]
    shown += [f"::: {module}\n    options: {{heading: {module}}}\n" for module in EXTRA.get(name, ())]
    return "\n".join([f"# {name}\n", f"{about}\n", *shown])


def _contents() -> str:
    rows = []
    for name in PACKAGES:
        about = (inspect.getdoc(import_module(name)) or "").split("\n\n")[0].replace("\n", " ")
        rows.append(f"| [`{name}`]({name}.md) | {about} |")
    head = "# Reference\n\nMade of the docstrings: what each package exports, with shapes, units and what is raised.\n\n"
    return head + "\n".join(["| package | |", "|---|---|", *rows]) + "\n"


def _run(path: Path) -> Any:
    """The notebook with its outputs; as it is, with QMM_DOCS_NOTEBOOKS=0. What was run once is kept."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    if os.environ.get("QMM_DOCS_NOTEBOOKS") == "0":
        return notebook
    kept = KEPT / f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.ipynb"
    if kept.is_file():
        return nbformat.read(kept, as_version=4)
    from nbclient import NotebookClient

    log.info("running %s", path.name)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    KEPT.mkdir(exist_ok=True)
    nbformat.write(notebook, kept)
    return notebook


def notebook_page(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook, and its pictures by the names that it links to. Logs and progress bars are left out."""
    from nbconvert import MarkdownExporter

    ran = False
    for cell in notebook.cells:
        shown = [output for output in cell.get("outputs", []) if not _is_noise(output)]
        ran = ran or bool(shown)
        for output in shown:
            if "text/html" in output.get("data", {}):  # an indented line would be code
                output["data"]["text/html"] = "\n".join(
                    line.strip() for line in output["data"]["text/html"].splitlines()
                ).strip()
        if cell.cell_type == "code":
            cell["outputs"] = shown
    body, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": name})
    title, _, rest = body.partition("\n")
    said = f"`notebooks/{name}.ipynb`, " + ("as it ran." if ran else "not run: built with `QMM_DOCS_NOTEBOOKS=0`.")
    alt = f"![{title.lstrip('# ')}: picture]"
    return f"{title}\n\n{said}\n{rest.replace('![png]', alt)}", resources["outputs"]


def _is_noise(output: Any) -> bool:
    return output.get("name") == "stderr" or any("widget" in kind for kind in output.get("data", {}))


def _gallery() -> str:
    """Drawing takes longer than all the rest: with QMM_DOCS_GALLERY=0 a page says that it was left out."""
    if os.environ.get("QMM_DOCS_GALLERY") == "0":
        return "<!doctype html><title>Gallery</title><p>Left out: built with QMM_DOCS_GALLERY=0."
    from qmm.fusion.gallery import write_gallery

    with tempfile.TemporaryDirectory() as folder:
        return write_gallery(folder).read_text(encoding="utf-8")

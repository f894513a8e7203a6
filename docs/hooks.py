"""MkDocs' hooks: pages that are made of the tree (reference, benchmarks, gallery), and links that leave docs/.

Nothing here knows a name: what a package exports is what its page shows.
"""

import inspect
import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("qmm", "qmm.quantum", "qmm.circuits", "qmm.fusion", "qmm.encoders", "qmm.data", "qmm.decoders", "qmm.tasks", "qmm.training"),
    *("qmm.initialisers", "qmm.optimisers", "qmm.geometry", "qmm.regularisation", "qmm.discrete", "qmm.metrics", "qmm.language"),
    *("qmm.study", "qmm.validation", "qmm.search", "qmm.trainability"),
)
EXTRA = {"qmm": ("qmm.contracts", "qmm.config", "qmm.registers", "qmm.errors", "qmm.types")}
"""Modules that belong on a package's page though it does not export them: all that is public in them is shown."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    (reference,) = [part["Reference"] for part in config.nav or [] if "Reference" in part]
    reference.extend({name: f"reference/{name}.md"} for name in PACKAGES)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    made = {f"reference/{name}.md": _reference(name) for name in PACKAGES}
    made["reference/index.md"] = _contents()
    made["benchmarks.md"] = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    files.append(File.generated(config, "gallery/index.html", content=_gallery()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to the tree outside docs/ become the path as text: the site holds no copies of sources."""
    return re.sub(r"\[([^\]]*)\]\(\.\./([^)#]+)\)", lambda link: _outside(link, page), markdown)


def _outside(link: re.Match[str], page: Page) -> str:
    target = (ROOT / "docs" / page.file.src_uri).parent / ".." / link[2]
    if (ROOT / "docs") in target.resolve().parents:
        return link[0]
    if not target.exists():
        raise FileNotFoundError(f"{page.file.src_uri} links to {link[2]}, which the repository does not have")
    label = link[1].strip("`")
    return f"`{link[2]}`" if label in link[2] else f"{link[1]} (`{link[2]}`)"


def _exported(name: str) -> list[str]:
    """Where each name that a package exports is defined, for the reference; lazily resolved names are resolved."""
    package = import_module(name)
    found = []
    for export in sorted(package.__all__, key=str.lower):
        value: Any = getattr(package, export)
        if inspect.isclass(value) or inspect.isfunction(value):
            found.append(f"{value.__module__}.{value.__qualname__}")
    return list(dict.fromkeys(path for path in found if path.startswith("qmm.")))


def _reference(name: str) -> str:
    about = inspect.getdoc(import_module(name)) or ""
    shown = [f"::: {path}\n" for path in _exported(name)]
    shown += [f"::: {module}\n    options: {{show_root_full_path: true}}\n" for module in EXTRA.get(name, ())]
    return "\n".join([f"# {name}\n", f"{about}\n", *shown])


def _contents() -> str:
    rows = []
    for name in PACKAGES:
        about = (inspect.getdoc(import_module(name)) or "").split("\n\n")[0].replace("\n", " ")
        rows.append(f"| [`{name}`]({name}.md) | {about} |")
    head = "# Reference\n\nMade of the docstrings: what each package exports, with shapes, units and what is raised.\n\n"
    return head + "\n".join(["| package | |", "|---|---|", *rows]) + "\n"


def _gallery() -> str:
    from qmm.fusion.gallery import write_gallery

    with tempfile.TemporaryDirectory() as folder:
        return write_gallery(folder).read_text(encoding="utf-8")

"""What is installed is what stands in the tree, and it works alone."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

WINGS = ("encoders", "fusion", "data")


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, dict[str, dict[str, list[str]]]]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


def sources(repository: Path) -> Iterator[Path]:
    """Python files of the checkout that git knows, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=repository, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    yield from (repository / name for name in listed if (repository / name).is_file())


def test_every_package_of_the_tree_is_listed(repository: Path, project: dict) -> None:
    inside = {path.parent.relative_to(repository) for path in sources(repository) if path.name == "__init__.py"}
    packages = {".".join(p.parts if p.parts[0] == "qmm" else ("qmm", *p.parts)) for p in inside}
    assert packages == set(project["tool"]["setuptools"]["packages"])


def test_wings_are_reached_through_links(repository: Path) -> None:
    for wing in WINGS:
        assert (repository / "qmm" / wing).readlink() == Path("..") / wing


def test_nobody_imports_a_wing_by_its_folder(repository: Path) -> None:
    wrong = re.compile(rf"^\s*(import|from)\s+({'|'.join(WINGS)})\b", re.MULTILINE)
    assert [path.name for path in sources(repository) if wrong.search(path.read_text())] == []


def test_pins_of_pip_and_uv_agree(repository: Path, project: dict) -> None:
    lines = (repository / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == project["tool"]["uv"]["constraint-dependencies"]


def test_the_quantum_core_loads_alone() -> None:
    code = "import sys, qmm.quantum; print([m for m in ('lightning', 'transformers', 'qmm.model') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(repository)]
    done = subprocess.run(command, capture_output=True, text=True)  # an sdist, and the wheel from it
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_wings_as_packages_of_qmm(wheel: Path, repository: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")} == {"qmm"}
    for wing in WINGS:
        expected = {f"qmm/{path.relative_to(repository)}" for path in (repository / wing).rglob("*.py")}
        assert expected == {name for name in names if name.startswith(f"qmm/{wing}/")}
    assert {"qmm/py.typed", "qmm/study/report/page.html.j2", "qmm/study/report/page.css"} <= set(names)


def test_the_wheel_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")}))
    zipfile.ZipFile(wheel).extractall(site)
    # The dependencies come from this environment; a .pth does not run its .pth files, so its editable qmm stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = tmp_path / "env" / "bin" / "python"
    code = "import qmm, qmm.data, qmm.encoders as e, qmm.fusion as f; e.ViTEncoder, f.QuantumFusion; print(qmm.__file__)"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
    shown = subprocess.run([python, "-I", "-m", "qmm", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "study" in shown.stdout

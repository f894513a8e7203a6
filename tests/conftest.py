"""Shared fixtures."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
import torch
import yaml
from lightning import Callback, Trainer

if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side, and what they start, take one core each
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

from qmm import cli

REPOSITORY = Path(__file__).parents[1]

hypothesis.settings.register_profile("qmm", deadline=None)  # no test asserts a time, examples of properties neither
hypothesis.settings.load_profile("qmm")


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


Qmm = Callable[..., Done]


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Benchmarks run on one thread; with another number, sums of the tests behind them would round differently."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture
def real_data() -> Path:
    """The folder of the real data; skips the test where there is none."""
    folder = Path(os.environ.get("QMM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: $QMM_DATA is unset, and there is no shared/data beside the repository")
    return folder


class StopAfter(Callback):
    """A run that ends early, as an interrupt would end it; its schedule is that of the whole."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


@pytest.fixture
def stop_after() -> type[StopAfter]:
    """`stop_after(2)`: a callback that ends a training after two epochs."""
    return StopAfter


@pytest.fixture(scope="session")
def av_words() -> dict[str, dict[str, list[str]]]:
    """What av_captioning.yaml calls the places and events of av-scenes."""
    config = yaml.safe_load((REPOSITORY / "configs" / "av_captioning.yaml").read_text())
    return config["data"]["init_args"]["words"]


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """`make_trainer(*callbacks, epochs=1, ...)`: a Trainer that says nothing and leaves nothing behind."""

    def make(*callbacks: Callback, epochs: int = 1, **settings: Any) -> Trainer:
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
        options: dict[str, Any] = {**quiet, "accelerator": "cpu", "log_every_n_steps": 1, "default_root_dir": tmp_path}
        return Trainer(max_epochs=epochs, callbacks=list(callbacks), **{**options, **settings})

    return make


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Configuration of a run that takes seconds: the quickstart, made small."""
    return ["--config", str(REPOSITORY / "configs" / "quickstart.yaml"), "--config", str(REPOSITORY / "tests" / "tiny.yaml")]


@pytest.fixture(scope="session")
def qmm() -> Qmm:
    """Runs `qmm ...` in this process (starting one takes seconds); `ok=False` where it is meant to fail."""

    def run(*args: object, ok: bool = True) -> Done:
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main([*map(str, args)])
            except SystemExit as end:  # as the interpreter does with it
                if isinstance(end.code, str):
                    print(end.code, file=err)
                code = 1 if isinstance(end.code, str) else int(end.code or 0)
        assert (code == 0) == ok, out.getvalue()[-3000:] + err.getvalue()[-3000:]
        return Done(out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def trained(qmm: Qmm, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run."""
    runs = tmp_path_factory.mktemp("runs")
    qmm("fit", *tiny, "--runs", runs, "--name", "trained")
    return runs / "trained"

"""The command line, `qmm COMMAND`. Names no wing; configurations do."""

import argparse
import sys
from importlib import import_module

from qmm.errors import InputError
from qmm.suggestions import did_you_mean

COMMANDS = {
    "fit": "train, then evaluate on the test split (or, without one, on val)",
    "validate": "evaluate a checkpoint on the val split",
    "test": "evaluate a checkpoint on the test split",
    "predict": "label or describe files with a checkpoint, or ask it about them",
    "circuit": "draw, count and cost a fusion's circuits; `circuit sweep`: over qubits and layers",
    "backends": "run a checkpoint on simulators with noise, on hardware: values, predictions, costs",
    "robustness": "what is left of checkpoints when a modality is noisy or missing; resumable",
    "trainability": "how fast gradients vanish with qubits and depth, by initialisation; resumable",
    "data": "`data check`: duplicates, leaks, balance and damage of a data set, before it is studied",
    "study": "compare arms over seeds; resumable",
    "crossval": "compare arms on the same folds of the training split, in whole groups; resumable",
    "select": "choose features that say much and repeat little, as an overlay for fit",
    "search": "search fusion circuits under a budget of gates, against counterparts tuned as long; resumable",
}
_HOMES = {
    "predict": "qmm.predicting",
    "circuit": "qmm.costs.cli",
    "backends": "qmm.backends.cli",
    "robustness": "qmm.robustness.cli",
    "trainability": "qmm.trainability.cli",
    "data": "qmm.checking.cli",
    "study": "qmm.study.cli",
    "crossval": "qmm.validation.cli",
    "select": "qmm.discrete.select_cli",
    "search": "qmm.search.cli",
}
"""Whose `main` takes a command's arguments; the others are TrainingCLI's."""


def main(args: list[str] | None = None) -> None:
    """Entry point of `qmm` and `python -m qmm`."""
    given = list(sys.argv[1:] if args is None else args)
    top = argparse.ArgumentParser(
        prog="qmm",
        description="Multimodal quantum language models. `qmm COMMAND --help` tells the rest.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:14}{text}" for name, text in COMMANDS.items()),
    )
    top.add_argument("command", metavar="COMMAND")
    command = top.parse_args(given[:1]).command
    if command not in COMMANDS:
        top.error(f"there is no command {command!r}{did_you_mean(command, COMMANDS)}; `qmm --help` lists them")
    try:  # each command imports what it needs: Lightning alone takes seconds
        if command in _HOMES:
            import_module(_HOMES[command]).main(given[1:])
        else:
            from qmm.training.cli import TrainingCLI

            TrainingCLI(args)
    except Exception as error:
        found = _input_error(error)
        if found is None:
            raise
        sys.exit(f"qmm {command}: {found}")


def _input_error(error: BaseException | None) -> ValueError | None:
    """What the user can mend behind an error, an InputError or a CircuitError; jsonargparse wraps what constructors raise."""
    from qmm.quantum.errors import CircuitError  # loads torch, which by now a command has done

    while error is not None and not isinstance(error, InputError | CircuitError):
        error = error.__cause__ or error.__context__
    return error

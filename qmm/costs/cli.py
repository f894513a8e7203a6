"""`qmm circuit`"""

import argparse
import sys
from pathlib import Path

from qmm.errors import InputError
from qmm.files import write_json

_FORMATS = "circuit.png, circuit.svg, circuit.tex (LaTeX), circuit.qasm (OpenQASM 3)"


def main(args: list[str]) -> None:
    """Draws, exports, counts and costs the circuits of a configuration's fusion; or sweeps."""
    if args[:1] == ["sweep"]:
        from qmm.costs.sweep_cli import main as sweep

        sweep(args[1:])
        return
    options, configuration = _parser().parse_known_args(args)
    given = {"--precision": options.precision, "--seeds": options.seeds, "--batch": options.batch}
    for flag, value in given.items():
        if value is not None and value <= 0:
            raise InputError(f"{flag} {value}: it must be positive")
    from qmm.costs.report import report  # Lightning and Qiskit, which take seconds

    costs = report(options, configuration)
    if options.json:
        write_json(Path(options.json), costs)
        print(f"All of it: {options.json}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm circuit",
        description="Draw a fusion's circuits and say what they cost. `qmm circuit sweep --help`: over qubits and layers.",
        epilog="Every other flag is one of `qmm fit`: --config FILE (again for overlays), --ckpt_path FILE, "
        "--model.init_args.model.fusion.init_args.layers 2 ... Neither data nor pretrained weights need be there.",
        usage="qmm circuit --config FILE [--config OVERLAY ...] [options] [flags of qmm fit]",
        allow_abbrev=False,
    )
    drawn = parser.add_argument_group("drawing")
    drawn.add_argument("--out", help=f"folder for {_FORMATS} (default: circuits/NAME)")
    drawn.add_argument("--text", action="store_true", help="draw the circuits in the terminal, too")
    drawn.add_argument("--present", nargs="+", metavar="MODALITY", help="of a sample that has these modalities alone")
    costs = parser.add_argument_group("costs")
    costs.add_argument("--precision", type=float, default=0.01, help="shots are for this standard error (default: 0.01)")
    costs.add_argument("--batch", type=int, help="samples in a training step (default: the data's batch_size)")
    costs.add_argument("--device", metavar="NAME", help="transpile for this device as well, e.g. fake_torino")
    costs.add_argument("--expressibility", action="store_true", help="and entangling capability (arXiv:1905.10876)")
    costs.add_argument("--effective-dimension", action="store_true", help="for 10,000 samples (arXiv:2011.00027)")
    costs.add_argument("--seeds", type=int, default=3, help="how often these two are estimated (default: 3)")
    costs.add_argument("--json", metavar="FILE", help="write every number there as well")
    return parser

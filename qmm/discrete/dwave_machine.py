"""D-Wave's annealers, through an account of the user's own."""

from importlib import import_module
from typing import Any

from dimod import BinaryQuadraticModel, SampleSet

from qmm.discrete.solver import Solver, positive
from qmm.errors import InputError

_ACCOUNT = "run `dwave setup` (or `dwave config create`), or set DWAVE_API_TOKEN; then try `dwave ping`"


class DWaveMachine(Solver):
    """Quantum annealing on D-Wave's machines. The model is embedded into the machine's graph, a chain of qubits a variable.

    The account is what D-Wave's own configuration says (`dwave setup`, or DWAVE_API_TOKEN); nothing here takes, keeps or prints
    a token. Sends the model to D-Wave and uses up the account's time.

    Args:
        machine: Its name, "Advantage_system4.1" for instance; by default the account's default one.
        reads: Anneals; every one ends in a sample.
        annealing_time: Of an anneal, in microseconds; by default the machine's own.
        chain_strength: How strongly a chain holds together, in units of the model; by default estimated from its couplings.
        profile: Of D-Wave's configuration file; by default its default one.
        seed: Of the embedding; anneals have none.
    """

    def __init__(
        self,
        machine: str | None = None,
        reads: int = 1000,
        annealing_time: float | None = None,
        chain_strength: float | None = None,
        profile: str | None = None,
        seed: int = 0,
    ):
        positive(reads=reads, annealing_time=annealing_time or 1, chain_strength=chain_strength or 1)
        self.machine, self.reads, self.profile, self.seed = machine, reads, profile, seed
        self.annealing_time, self.chain_strength = annealing_time, chain_strength

    def draw(self, model: BinaryQuadraticModel) -> SampleSet:
        """Raises InputError where dwave-system is not installed, where no account is configured, and where the machine or an
        embedding into it cannot be had."""
        system = _system()
        composite = system.EmbeddingComposite(self._connect(system))
        given: dict[str, Any] = {"num_reads": self.reads, "embedding_parameters": {"random_seed": self.seed}}
        if self.annealing_time is not None:
            given["annealing_time"] = self.annealing_time
        if self.chain_strength is not None:
            given["chain_strength"] = self.chain_strength
        try:
            samples = composite.sample(model, **given)
            samples.resolve()  # answers come later, and with them what went wrong
        except Exception as error:
            raise _refused(f"the model of {model.num_variables} variables was not sampled", error) from None
        return samples

    def _connect(self, system: Any) -> Any:
        given = {"solver": self.machine, "profile": self.profile}
        try:
            return system.DWaveSampler(**{name: value for name, value in given.items() if value is not None})
        except ValueError as error:
            if "token" in str(error).lower():
                raise InputError(f"no account with D-Wave is configured; {_ACCOUNT}, or take PathIntegralAnnealing") from None
            raise _refused("no machine could be reached", error) from None
        except Exception as error:
            raise _refused("no machine could be reached", error) from None


def _refused(what: str, error: Exception) -> InputError:
    """By the kind of the error alone: what services answer may hold parts of a request, and of its credentials."""
    return InputError(f"D-Wave: {what} ({type(error).__name__}); `dwave ping` tells whether account and connection are right")


def _system() -> Any:
    try:
        return import_module("dwave.system")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("dwave"):
            raise
        raise InputError('D-Wave\'s machines need dwave-system, which is not installed: pip install "qmm[dwave]"') from error

"""The family of a configuration's fusion: its circuits with more qubits, more layers, and another observable."""

import copy
import inspect
import typing
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.contracts import Fusion
from qmm.errors import InputError
from qmm.quantum import CompiledCircuit, Evaluation, recording
from qmm.trainability.ensembles import Ensemble
from qmm.trainability.families import Family, felt
from qmm.trainability.observables import OWN, observable


class _Sized(NamedTuple):
    """A fusion of some number of qubits and layers, and the features that it is given."""

    fusion: Fusion
    features: dict[str, Tensor]


class ConfiguredFusion(Family):
    """The fusion of a configuration of `qmm fit`. Each of its circuits is run with other features, uniform in the range of the
    compressors; weights are drawn for each, too.

    Qubits are shared out among the registers, the first ones get what is left over; layers are the depth. Gates that the
    observable does not feel are left out.

    Args:
        configs: YAML files, later ones overlay earlier ones.
        flags: Further flags of `qmm fit`.
        features_per_qubit: A modality has so many features for each qubit of its register, so that every qubit is written to;
            by default as many as its compressor is configured to make, however many qubits there are.
        circuit: Which of the fusion's circuits, by name; by default its first.
    """

    def __init__(
        self,
        configs: list[str],
        flags: list[str] | None = None,
        features_per_qubit: int | None = None,
        circuit: str | None = None,
    ):
        if features_per_qubit is not None and features_per_qubit < 1:
            raise InputError(f"features_per_qubit={features_per_qubit}; it is at least 1")
        self.configs, self.flags, self.features_per_qubit = configs, flags or [], features_per_qubit
        self.circuit = circuit

    @cached_property
    def plain(self) -> Mapping[str, Any]:
        """The whole configuration, as plain data."""
        from qmm.costs.configuration import parse  # Lightning, which takes seconds

        return parse([*(word for file in self.configs for word in ("--config", file)), *self.flags], "qmm trainability")

    def fingerprint(self) -> Any:
        return [self.plain["model"], self.features_per_qubit, self.circuit]

    def ensemble(self, qubits: int, depth: int, read: str, count: int, seed: int) -> Ensemble:
        sized = self._sized(qubits, depth, count, seed)
        name, found = self._evaluated(sized)
        if len(found.inputs) != count:
            raise InputError(
                f"circuit {name!r} of {type(sized.fusion).__name__} ran {len(found.inputs)} times for {count} samples; "
                "gradients over samples need a circuit that runs once for each"
            )
        circuit = found.circuit.circuit
        if read != OWN:
            circuit = circuit._replace(observables=(observable(read, circuit.quantum_circuit.num_qubits),))
        circuit = felt(circuit)
        places = {weight: place for place, weight in enumerate(found.circuit.circuit.weights)}
        kept = [places[weight] for weight in circuit.weights]

        def own(seed: int) -> Tensor:
            return _own_starts(sized.fusion, name, count, seed)[:, kept]

        return Ensemble(CompiledCircuit(circuit), found.inputs.to(torch.float64), [circuit], own=own)

    def _sized(self, qubits: int, depth: int, count: int, seed: int) -> _Sized:
        from qmm.costs.configuration import build, fusion_config, random_features
        from qmm.training.cli import instantiate

        model = self.plain["model"]["init_args"]["model"]
        if model.get("init_args", model).get("counterpart"):
            raise InputError("the configuration has a `counterpart` in the place of its fusion; leave that overlay out")
        entries = build(self.plain).entries
        sizes = _shared_out(qubits, list(entries))
        if self.features_per_qubit:
            entries = {m: entry._replace(features=self.features_per_qubit * sizes[m]) for m, entry in entries.items()}
        own = copy.deepcopy(dict(fusion_config(self.plain)))
        arguments = {**(own.get("init_args") or {}), "layers": depth, "qubits": _as_argument(own["class_path"], sizes)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fusion = instantiate(Fusion, {**own, "init_args": arguments})
            fusion.build({modality: entry.features for modality, entry in entries.items()})
        return _Sized(fusion.double(), {m: x.double() for m, x in random_features(entries, count, seed).items()})

    def _evaluated(self, sized: _Sized) -> tuple[str, Evaluation]:
        """The circuit's name, and how the fusion runs it on its features."""
        fusion, features = sized
        present = {m: torch.ones(len(x), dtype=torch.bool) for m, x in features.items()}
        circuits = fusion.weighted_circuits()
        if not circuits:
            raise InputError(f"{type(fusion).__name__} has no circuit with trained weights, whose gradients could vanish")
        if self.circuit is not None and self.circuit not in circuits:
            raise InputError(f"{type(fusion).__name__} has no circuit {self.circuit!r}; it has {', '.join(circuits)}")
        name = self.circuit or next(iter(circuits))
        with torch.no_grad(), recording() as tape:
            fusion.eval()(features, present)
        for evaluation in tape:
            if evaluation.circuit is circuits[name].circuit:
                return name, evaluation
        raise InputError(f"{type(fusion).__name__} does not run its circuit {name!r} on features as they come")


def _shared_out(qubits: int, modalities: Sequence[str]) -> dict[str, int]:
    each, left = divmod(qubits, len(modalities))
    if not each:
        raise InputError(f"{qubits} qubits for the registers of {', '.join(modalities)}; each takes at least one")
    return {modality: each + (place < left) for place, modality in enumerate(modalities)}


def _as_argument(class_path: str, sizes: dict[str, int]) -> Any:
    """Qubits by modality, or one number for all registers, as the fusion takes them."""
    module, _, name = class_path.rpartition(".")
    kind = getattr(import_module(module), name)
    taken = inspect.signature(kind).parameters
    if not {"qubits", "layers"} <= set(taken):
        raise InputError(f"{name} has no `qubits` and `layers` to vary; it takes {', '.join(taken)}")
    if "dict" in str(typing.get_type_hints(kind.__init__)["qubits"]):
        return sizes
    if len(set(sizes.values())) > 1:
        raise InputError(f"{name} has registers of one size; {sum(sizes.values())} qubits do not divide by {len(sizes)}")
    return next(iter(sizes.values()))


def _own_starts(fusion: Fusion, name: str, count: int, seed: int) -> Tensor:
    """(count, W): as the fusion itself draws them."""
    reset: Any = getattr(fusion, "reset_parameters", None)
    if reset is None:
        raise InputError(f"{type(fusion).__name__} has no `reset_parameters`, no start of its own that could be drawn again")
    rows = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(count):
            reset()
            rows.append(fusion.weighted_circuits()[name].weights.detach().clone())
    return torch.stack(rows).double()

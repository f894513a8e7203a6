"""What is searched: circuits of a configured fusion, and its classical counterparts. Points -> overlays of `qmm fit`."""

import copy
import inspect
import json
import typing
from abc import ABC, abstractmethod
from argparse import ArgumentError
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from qmm.costs.configuration import build, counterparts, fusion_config
from qmm.costs.sweep import total_costs
from qmm.errors import InputError
from qmm.quantum import Circuit
from qmm.quantum.errors import CircuitError
from qmm.search.space import Point, Space, make_space
from qmm.suggestions import did_you_mean

COSTS = ("two_qubit_gates", "depth", "gates", "parameters", "total_qubits")
"""What a budget may limit, counted in circuits as they are written."""


class Examined(NamedTuple):
    """A point, before anything is run."""

    costs: dict[str, int]
    reason: str = ""
    """Why it is not to be run."""
    circuit: str = ""
    """The same for points that make the same circuit."""


class Arm(ABC):
    """A space, and the configurations that its points are."""

    name: str
    space: Space

    @abstractmethod
    def overlay(self, point: Point) -> dict[str, Any]:
        """What makes the point of the base configuration."""

    @abstractmethod
    def examine(self, point: Point) -> Examined:
        """What it costs, and whether that is within the budget."""


class Circuits(Arm):
    """Circuits of the configuration's fusion.

    Args:
        plain: The base configuration, parsed.
        choices: Options by argument of the fusion. Dots lead into an argument: "entangler.init_args.gate", or
            "entangler.init_args.entanglers.0" into a list. A number of qubits is that of every register.
        training: Options by setting of the training, such as "model.init_args.fusion_learning_rate".
        budget: The most there may be of each of `COSTS`.

    Raises InputError for what the fusion does not take, and for a fusion without circuits.
    """

    name = "quantum"

    def __init__(
        self,
        plain: Mapping[str, Any],
        choices: Mapping[str, Sequence[Any]],
        training: Mapping[str, Sequence[Any]],
        budget: Mapping[str, int],
    ):
        base = build(plain)
        if not base.fusion.circuits():
            raise InputError(f"{type(base.fusion).__name__} has no circuit to search for; leave out a `counterpart`")
        self._plain, self._modalities, self._training = plain, list(base.entries), training
        own = fusion_config(plain)
        module, _, name = own["class_path"].rpartition(".")
        self._class_path, self._given = own["class_path"], own.get("init_args") or {}
        self._kinds = _argument_types(getattr(import_module(module), name))
        for choice in choices:
            argument = choice.partition(".")[0]
            if argument not in self._kinds:
                meant = did_you_mean(argument, self._kinds)
                raise InputError(f"{name} has no argument {argument!r}{meant}; it takes {', '.join(self._kinds)}")
        self._choices, self._budget = choices, check_budget(budget)
        self.space = make_space({**choices, **training})

    def arguments(self, point: Point) -> dict[str, Any]:
        """Of the fusion, whole: each argument that is chosen or is led into, with all its defaults."""
        taken = self.space.values(point)
        arguments: dict[str, Any] = {}
        for choice in sorted(self._choices, key=lambda name: name.count(".")):  # what is led into comes first
            argument, *rest = choice.split(".")
            if not rest:
                arguments[argument] = copy.deepcopy(taken[choice])
            else:
                whole = arguments.setdefault(argument, copy.deepcopy(self._given.get(argument)))
                arguments[argument] = put(whole, rest, copy.deepcopy(taken[choice]), choice)
        qubits = arguments.get("qubits")
        if isinstance(qubits, int) and "dict" in str(self._kinds["qubits"]):
            arguments["qubits"] = dict.fromkeys(self._modalities, qubits)
        return {name: completed(self._kinds[name], value, name) for name, value in arguments.items()}

    def overlay(self, point: Point) -> dict[str, Any]:
        return self.overlay_of(self.arguments(point), self.space.values(point))

    def overlay_of(self, arguments: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
        fusion = {"class_path": self._class_path, "init_args": dict(arguments)}
        return with_settings({"model": {"init_args": {"model": {"fusion": fusion}}}}, self._training, taken)

    def examine(self, point: Point) -> Examined:
        """A point whose circuit cannot be built, its registers too small for instance, says why."""
        try:
            circuits = build(self._plain, **self.arguments(point)).fusion.circuits()
        except ValueError as error:  # jsonargparse wraps what constructors raise
            return Examined({}, str(_said_by_us(error)))
        costs = total_costs(circuits.values())
        above = [f"{costs[name]} {name} of {most}" for name, most in self._budget.items() if costs[name] > most]
        settled = {name: value for name, value in self.space.values(point).items() if not name.rpartition(".")[2].isdigit()}
        written = json.dumps([settled, {name: content(circuit) for name, circuit in circuits.items()}], default=str)
        return Examined(costs, f"over the budget: {', '.join(above)}" if above else "", written)


class Counterparts(Arm):
    """The classical counterparts of a circuit, each with as many parameters as it has, decoder included.

    Args:
        circuits: The arm that the circuit is of.
        point: Of the circuit.
        names: Counterparts to try, with or without "-below" and "-above"; by default all that the fusion offers but shams.
    """

    name = "classical"

    def __init__(self, circuits: Circuits, point: Point, names: Sequence[str] | None = None):
        self._arguments = circuits.arguments(point)
        self._circuits = circuits
        offered = counterparts(circuits._plain, **self._arguments)
        classical = [name for name in offered if not name.startswith("sham")]
        found = classical if names is None else [name for name in offered if name in names or unsized(name) in names]
        unknown = [name for name in names or () if name not in offered and name not in map(unsized, offered)]
        if unknown:
            raise InputError(f"there is no counterpart {', '.join(unknown)}; the best circuit offers {', '.join(offered)}")
        if not found:
            raise InputError("the fusion offers no classical counterpart; search without, `--trials N --no-counterparts`")
        self.space = make_space({"counterpart": found, **circuits._training})

    def overlay(self, point: Point) -> dict[str, Any]:
        taken = self.space.values(point)
        whole = self._circuits.overlay_of(self._arguments, taken)
        whole["model"]["init_args"]["model"]["counterpart"] = taken["counterpart"]
        return whole

    def examine(self, point: Point) -> Examined:
        return Examined({})


def unsized(name: str) -> str:
    return name.removesuffix("-below").removesuffix("-above")


def check_budget(budget: Mapping[str, Any]) -> dict[str, int]:
    """Raises InputError for what is not counted, and for limits that are no whole numbers of 0 or more."""
    for name, most in budget.items():
        if name not in COSTS:
            raise InputError(f"the budget limits {name!r}{did_you_mean(name, COSTS)}; it may limit {', '.join(COSTS)}")
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise InputError(f"the budget allows {most!r} {name}; give a whole number of 0 or more")
    return dict(budget)


def put(whole: Any, path: Sequence[str], value: Any, name: str) -> Any:
    """`whole` with the value at a path of keys and of places in lists. A class named by its path alone gets `init_args`."""
    first, *rest = path
    if isinstance(whole, str) and first == "init_args":
        whole = {"class_path": whole}
    if isinstance(whole, dict):
        if first == "init_args":
            whole[first] = whole.get(first) or {}
        whole[first] = put(whole.get(first), rest, value, name) if rest else value
    elif first.isdigit() and (whole is None or isinstance(whole, list)):
        whole = [*(whole or [])]
        if int(first) > len(whole):
            raise InputError(f"choice {name!r}: there is no place {first} in a list of {len(whole)}; give those before, too")
        whole[int(first) : int(first) + 1] = [put(whole[int(first)], rest, value, name) if rest else value]
    else:
        raise InputError(
            f"choice {name!r} leads into what is {whole!r}; name the class first, such as "
            f"{name.partition('.')[0]}: [package.Class]"
        )
    return whole


def completed(kind: Any, value: Any, name: str) -> Any:
    """Plain data of this type with every default written down, so that nothing of a base configuration shines through.

    Raises InputError for what is not of the type.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=kind)
    try:
        return _plain(parser.parse_object({"part": value}).part)
    except ArgumentError as error:
        raise InputError(f"{name}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def with_settings(overlay: dict[str, Any], settings: Iterable[str], taken: Mapping[str, Any]) -> dict[str, Any]:
    """The overlay with the settings that were taken, by their dotted names."""
    for name in settings:
        *outer, last = name.split(".")
        place = overlay
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = copy.deepcopy(taken[name])
    return overlay


def content(circuit: Circuit) -> list[Any]:
    """Gates, their angles by name, qubits and observables, as plain data."""
    whole = circuit.quantum_circuit
    gates = [
        [i.operation.name, *map(str, i.operation.params), *(whole.find_bit(q).index for q in i.qubits)] for i in whole.data
    ]
    return [whole.num_qubits, gates, [observable.to_list() for observable in circuit.observables]]


def _said_by_us(error: BaseException) -> BaseException:
    """What the user can mend behind an error. Raises the error itself where that is not known."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, InputError | CircuitError):
        found = found.__cause__ or found.__context__
    if found is None:
        raise error
    return found


def _argument_types(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]
    return {name: hints.get(name, Any) for name in inspect.signature(kind).parameters}

"""Budgets: what a set of requests will take of a device, what that costs, and whether it may."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qmm.quantum.errors import CircuitError


class BudgetError(CircuitError):
    """More than the budget allows."""


@dataclass(frozen=True)
class Prices:
    """What a device charges. Amazon Braket: per task, which is one circuit, and per shot; IBM: per second.

    Args:
        per_circuit: Of each circuit: of each binding in each basis.
        per_shot: Of each shot of each circuit.
        per_second: Of a second of the device.
        currency: What these are in.
    """

    per_circuit: float = 0.0
    per_shot: float = 0.0
    per_second: float = 0.0
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Raises CircuitError for a price that is none."""
        for name in ("per_circuit", "per_shot", "per_second"):
            _require_amount(f"prices: {name}", getattr(self, name))

    def of(self, circuits: int, shots: int, seconds: float | None) -> float | None:
        """None where seconds are charged and not known."""
        if self.per_second and seconds is None:
            return None
        return circuits * self.per_circuit + shots * self.per_shot + (seconds or 0.0) * self.per_second


@dataclass(frozen=True)
class Plan:
    """What a set of requests will take. Plans add up, and are multiplied by how often they are carried out."""

    circuits: int = 0
    """Bindings times bases."""
    shots: int = 0
    """Of all circuits together."""
    seconds: float | None = 0.0
    """Of the device: shots times the duration of the circuit and the delay between two shots, as far as the device states them;
    without what a provider adds for each job. None where it states no durations."""
    price: float | None = 0.0
    """None without a price table, or where it charges seconds that are not known."""
    currency: str = "USD"

    def __add__(self, other: "Plan") -> "Plan":
        """Raises CircuitError for prices in different currencies."""
        if not isinstance(other, Plan):
            return NotImplemented
        currencies = {plan.currency for plan in (self, other) if plan.price}
        if len(currencies) > 1:
            raise CircuitError(
                f"prices in {' and '.join(sorted(currencies))} do not add up; give all price tables in one currency"
            )
        seconds, price = _sum(self.seconds, other.seconds), _sum(self.price, other.price)
        currency = self.currency if self.circuits and not other.price else other.currency
        return Plan(self.circuits + other.circuits, self.shots + other.shots, seconds, price, currency)

    def __mul__(self, times: int) -> "Plan":
        seconds, price = (None if v is None else v * times for v in (self.seconds, self.price))
        return Plan(self.circuits * times, self.shots * times, seconds, price, self.currency)

    __rmul__ = __mul__

    def to_dict(self) -> dict[str, Any]:
        return vars(self).copy()

    def __str__(self) -> str:
        """ "1,200 circuits, 1,200,000 shots, 312 s of the device, 502 USD" """
        parts = [f"{self.circuits:,} circuits", f"{self.shots:,} shots"]
        parts += [] if self.seconds is None else [f"{self.seconds:,.3g} s of the device"]
        parts += [] if self.price is None else [f"{self.price:,.2f} {self.currency}"]
        return ", ".join(parts)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


@dataclass(frozen=True)
class Budget:
    """What may be taken of a device at most; what is None is not bounded.

    Args:
        circuits: Bindings times bases.
        shots: Of all circuits together.
        seconds: Of the device, estimated from the durations that it states.
        price: In the currency of the price table.
        prices: The price table; in YAML `{per_shot: 0.00145, per_circuit: 0.3}`.
    """

    circuits: int | None = None
    shots: int | None = None
    seconds: float | None = None
    price: float | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        """Raises CircuitError for a bound that is none, and for a bound on the price without a price table."""
        if isinstance(self.prices, Mapping):
            object.__setattr__(self, "prices", Prices(**self.prices))
        for name in ("circuits", "shots", "seconds", "price"):
            if getattr(self, name) is not None:
                _require_amount(f"budget: {name}", getattr(self, name))
        if self.price is not None and self.prices is None:
            raise CircuitError(f"a budget of price={self.price} without a price table; give prices: {{per_shot: ...}} too")

    def priced(self, circuits: int, shots: int, seconds: float | None) -> Plan:
        """The plan of so much, with its price."""
        if self.prices is None:
            return Plan(circuits, shots, seconds, price=None)
        return Plan(circuits, shots, seconds, self.prices.of(circuits, shots, seconds), self.prices.currency)

    def check(self, plan: Plan, sent: Plan | None = None) -> None:
        """Raises BudgetError that names each figure over the budget, or not known though it has a bound.

        Args:
            plan: What is to be sent.
            sent: What was sent before, and counts as well.
        """
        total = plan if sent is None else sent + plan
        units = {"circuits": "circuits", "shots": "shots", "seconds": "s of the device", "price": total.currency}
        over: list[str] = []
        for name, unit in units.items():
            bound, value = getattr(self, name), getattr(total, name)
            if bound is None:
                continue
            if value is None:
                over.append(f"an unknown number of {unit} where the budget is {bound:,}, since the device states no durations")
            elif value > bound:
                over.append(f"{value:,.6g} {unit} where the budget is {bound:,}".replace(".0 ", " "))
        if over:
            before = f", of which {sent} were sent before and are not lost" if sent is not None and sent.circuits else ""
            raise BudgetError(
                f"this takes {' and '.join(over)}{before}; take fewer samples or shots, less mitigation, or a larger budget"
            )


def _require_amount(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise CircuitError(f"{name}={value!r}; give a number, 0 or more")

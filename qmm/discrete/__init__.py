"""Discrete choices as quadratic problems over bits: which features, which couplings, which entanglers; solvers for them that
anneal, search and run circuits; and the least energies of Hamiltonians."""

from qmm.discrete.alternating import alternating_circuit
from qmm.discrete.annealers import PathIntegralAnnealing, SimulatedAnnealing, TabuSearch
from qmm.discrete.couplings import register_coupling
from qmm.discrete.dependence import Synergy, redundancy, relevance, synergy
from qmm.discrete.dwave_machine import DWaveMachine
from qmm.discrete.entanglers import Surrogate, entangler_placement, surrogate
from qmm.discrete.features import feature_selection
from qmm.discrete.ising import Ising, from_hamiltonian, hamiltonian, ising
from qmm.discrete.minimising import CircuitValue, Minimum, minimise
from qmm.discrete.problem import Choice, Constraint, Decoded, Problem, coefficients, constrained, from_matrix
from qmm.discrete.qaoa import QAOA
from qmm.discrete.solver import Exhaustive, Solution, Solver
from qmm.discrete.trotter import TrotterisedAnnealing, annealing_angles
from qmm.discrete.vqe import VQE, Ground, ground_energy

__all__ = [
    "QAOA",
    "VQE",
    "Choice",
    "CircuitValue",
    "Constraint",
    "DWaveMachine",
    "Decoded",
    "Exhaustive",
    "Ground",
    "Ising",
    "Minimum",
    "PathIntegralAnnealing",
    "Problem",
    "SimulatedAnnealing",
    "Solution",
    "Solver",
    "Surrogate",
    "Synergy",
    "TabuSearch",
    "TrotterisedAnnealing",
    "alternating_circuit",
    "annealing_angles",
    "coefficients",
    "constrained",
    "entangler_placement",
    "feature_selection",
    "from_hamiltonian",
    "from_matrix",
    "ground_energy",
    "hamiltonian",
    "ising",
    "minimise",
    "redundancy",
    "register_coupling",
    "relevance",
    "surrogate",
    "synergy",
]

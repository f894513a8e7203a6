"""The exact backend: our own engines, and the two ways to differentiate them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.quantum.backends import Backend, Gradient
from qmm.quantum.compiled import CompiledCircuit, require_memory
from qmm.quantum.errors import CircuitError
from qmm.quantum.tensors.program import Program

ENGINES = ("auto", "kernels", "torch")
_KERNEL_QUBITS = 22  # at most: kernels hold the states of 16 samples together
_FEW = (2, 15)  # for so few samples of so many qubits, most of those 16 idle, matrix products win
_CHUNK_BYTES = 2**20  # of states that pass through the torch engine together on a CPU: they stay in its cache


class Values(NamedTuple):
    """A job that is done when it is submitted."""

    values: Tensor

    def result(self) -> Tensor:
        return self.values


class ExactBackend(Backend):
    """State vectors without noise or shots.

    Args:
        engine: "kernels" (compiled for this CPU by numba when first used, then kept on disk), "torch" (any device), or
            "auto", which takes kernels on the CPU wherever they are the faster ones.
        chunk_bytes: States that the torch engine holds at once on a CPU; a batch is cut into chunks of this size.
    """

    def __init__(self, engine: str = "auto", chunk_bytes: int = _CHUNK_BYTES):
        """Raises CircuitError for an engine that there is not."""
        if engine not in ENGINES:
            raise CircuitError(f"engine={engine!r}; choose one of {', '.join(ENGINES)}")
        self.engine, self.chunk_bytes = engine, chunk_bytes

    @property
    def gradient(self) -> Gradient:
        return Adjoint()

    @torch.no_grad()
    def submit(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Values:
        return Values(Adjoint().values(self, circuit, inputs, weights))

    def choose(self, circuit: CompiledCircuit, inputs: Tensor) -> str:
        """The engine for these inputs: "kernels" or "torch". Raises CircuitError if kernels are forced off the CPU."""
        on_cpu = inputs.device.type == "cpu"
        if self.engine == "kernels" and not on_cpu:
            raise CircuitError(f"engine='kernels' runs on the CPU, the weights are on {inputs.device}; take 'auto' or 'torch'")
        if self.engine != "auto":
            return self.engine
        n = circuit.circuit.quantum_circuit.num_qubits
        few = len(inputs) <= _FEW[0] and n >= _FEW[1]
        return "kernels" if on_cpu and n <= _KERNEL_QUBITS and not few else "torch"


class Adjoint(Gradient):
    """Adjoint differentiation (arXiv:2009.02823): backward undoes the circuit step by step from the final state, the only
    one that is kept. Under `torch.func` transforms, in forward mode and for gradients of gradients, `Autograd` steps in.
    """

    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        exact = _exact(backend, self)
        if is_transformed():
            return Autograd().values(exact, circuit, inputs, weights)
        recorded = torch.is_grad_enabled() and (inputs.requires_grad or weights.requires_grad)
        n, dtype = circuit.circuit.quantum_circuit.num_qubits, inputs.dtype.to_complex()
        if exact.choose(circuit, inputs) == "kernels":
            require_memory(n, len(inputs) * recorded + 4 * min(16, len(inputs)), dtype, inputs.device)
            return _KernelAdjoint.apply(circuit, inputs, weights) if recorded else _run_kernels(circuit, inputs, weights)[0]
        rows = max(1, exact.chunk_bytes // (dtype.itemsize << n)) if inputs.device.type == "cpu" else max(1, len(inputs))
        require_memory(n, len(inputs) * recorded + 4 * min(rows, len(inputs)), dtype, inputs.device)
        program = circuit.program(weights.ndim == 2, inputs.device, inputs.dtype)
        parts = []
        for chunk, first in zip(inputs.split(rows), range(0, max(1, len(inputs)), rows), strict=True):
            own = weights[first : first + rows] if weights.ndim == 2 else weights
            parts.append(_TorchAdjoint.apply(program, chunk, own) if recorded else program.infer(chunk, own))
        return torch.cat(parts)


class Autograd(Gradient):
    """Plain torch differentiation through every step, as often as one likes; it keeps the state behind each step."""

    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        _exact(backend, self)
        return circuit.program(weights.ndim == 2, inputs.device, inputs.dtype).run(inputs, weights)


def _exact(backend: Backend, gradient: Gradient) -> ExactBackend:
    if not isinstance(backend, ExactBackend):
        raise CircuitError(f"{type(gradient).__name__} needs the ExactBackend, got {type(backend).__name__}")
    return backend


def is_transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is looking."""
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0


def _second_order(gradient: Tensor, program: Program, inputs: Tensor, weights: Tensor) -> tuple[Tensor | None, ...]:
    """A gradient that can be differentiated again."""
    wanted = [t for t in (inputs, weights) if t.requires_grad]
    found = iter(torch.autograd.grad(program.run(inputs, weights), wanted, gradient, create_graph=True, allow_unused=True))
    return tuple(next(found) if t.requires_grad else None for t in (inputs, weights))


def _run_kernels(circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, keep: bool = False) -> tuple[Tensor, Any]:
    from qmm.quantum.kernels import execute

    tape, shared, sample = circuit.tape(weights.ndim == 2, inputs.dtype)
    with torch.no_grad():
        arguments = sample.evaluate(inputs, weights).expand(len(inputs), -1)
        return execute.forward(tape, shared.evaluate(inputs, weights), arguments, keep)


class _KernelAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        ctx.circuit = circuit
        ctx.save_for_backward(inputs, weights)
        values, ctx.trace = _run_kernels(circuit, inputs, weights, keep=True)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from qmm.quantum.kernels import execute

        inputs, weights = ctx.saved_tensors
        per_sample = weights.ndim == 2
        if torch.is_grad_enabled():  # the caller asked for create_graph
            program = ctx.circuit.program(per_sample, inputs.device, inputs.dtype)
            return None, *_second_order(gradient, program, inputs, weights)
        tape, shared, sample = ctx.circuit.tape(per_sample, inputs.dtype)
        of_shared, of_sample = execute.backward(tape, ctx.trace, gradient)
        first, second = shared.pullback(of_shared, inputs, weights), sample.pullback(of_sample, inputs, weights)
        return None, *(_sum(a, b, like) for a, b, like in zip(first, second, (inputs, weights), strict=True))


def _sum(a: Tensor | None, b: Tensor | None, like: Tensor) -> Tensor:
    if a is None:
        return torch.zeros_like(like) if b is None else b
    return a if b is None else a + b


class _TorchAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, program: Program, inputs: Tensor, weights: Tensor) -> Tensor:
        ctx.program = program
        state = program.state(inputs, weights)
        ctx.save_for_backward(inputs, weights, state)
        return program.read(state, len(inputs))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights, state = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_second_order(gradient, ctx.program, inputs, weights)
        return None, *_undo(ctx.program, inputs.detach(), weights.detach(), state, gradient)


def _undo(program: Program, inputs: Tensor, weights: Tensor, state: Tensor, gradient: Tensor) -> list[Tensor]:
    """Gradients of inputs and weights: each step is undone, then differentiated alone, the last one first."""
    leaves = [inputs.requires_grad_(), weights.requires_grad_()]
    with torch.enable_grad():
        start = program.start.product_state(inputs, weights)
        made = program.parameters(inputs, weights)
        final = state.requires_grad_()
        (lam,) = torch.autograd.grad(program.read(final, len(inputs)), final, gradient)
    state = final.detach()
    roots, gradients = [], []
    for step, parameters in zip(reversed(program.steps), reversed(made), strict=True):
        fixed = [p.detach() for p in parameters]
        state = program.apply(step, state, fixed, inverse=True)
        with torch.enable_grad():
            before = state.requires_grad_()
            own = [p.requires_grad_() for p in fixed]
            lam, *found = torch.autograd.grad(program.apply(step, before, own), [before, *own], lam)
        state = before.detach()
        roots += parameters
        gradients += found
    roots.append(start)
    gradients.append(lam.sum_to_size(start.shape))
    kept = [(root, grad) for root, grad in zip(roots, gradients, strict=True) if root.requires_grad]
    if not kept:
        return [torch.zeros_like(leaf) for leaf in leaves]
    pulled = torch.autograd.grad([root for root, _ in kept], leaves, [grad for _, grad in kept], allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, pulled, strict=True)]

"""SIMD vectors inside numba functions: plain Python on `Vector`s and `Memory` becomes straight LLVM vector code.

numba's own loops over 16 lanes are vectorised only where LLVM can prove that rows do not overlap, which it cannot for the rows
of one state. Here every load, store and operation is a vector instruction by construction:

    @vector_function
    def add(memory, a, b):              # called from @njit code with an array and two integers
        memory[a] = memory[a] + memory[b]
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_BYTES = 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32
_FLAGS = ("contract", "nsz")  # lets a*b + c become one fused multiply-add; nothing else is reordered
_INT = ir.IntType(64)


def lanes(itemsize: int) -> int:
    """Samples side by side in one vector: 16 (float32) or 8 (float64) with AVX-512, half as many without."""
    return _BYTES // itemsize


class Index:
    """A 64-bit integer that is known when the function runs."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value):
        self.builder, self.value = builder, value

    def __add__(self, other: int) -> "Index":
        return Index(self.builder, self.builder.add(self.value, ir.Constant(_INT, other)))

    def __mul__(self, other: int) -> "Index":
        return Index(self.builder, self.builder.mul(self.value, ir.Constant(_INT, other)))


class Vector:
    def __init__(self, builder: ir.IRBuilder, value: ir.Value):
        self.builder, self.value = builder, value

    def __add__(self, other: "Vector") -> "Vector":
        return Vector(self.builder, self.builder.fadd(self.value, other.value, flags=_FLAGS))

    def __sub__(self, other: "Vector") -> "Vector":
        return Vector(self.builder, self.builder.fsub(self.value, other.value, flags=_FLAGS))

    def __mul__(self, other: "Vector") -> "Vector":
        return Vector(self.builder, self.builder.fmul(self.value, other.value, flags=_FLAGS))

    def __neg__(self) -> "Vector":
        return Vector(self.builder, self.builder.fneg(self.value, flags=_FLAGS))


class Memory:
    """A flat array: `memory[i]` is its i-th vector, `memory.splat(i)` its i-th number in all lanes."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: types.Array, value: ir.Value):
        self.builder = builder
        self.align = kind.dtype.bitwidth // 8  # type: ignore[attr-defined]
        self.numbers = context.make_array(kind)(context, builder, value).data
        number = ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType()
        self.type = ir.VectorType(number, lanes(self.align))
        self.vectors = builder.bitcast(self.numbers, self.type.as_pointer())

    def __getitem__(self, index: Index | int) -> Vector:
        return Vector(self.builder, self.builder.load(self._pointer(self.vectors, index), align=self.align))

    def __setitem__(self, index: Index | int, vector: Vector) -> None:
        self.builder.store(vector.value, self._pointer(self.vectors, index), align=self.align)

    def _pointer(self, base: ir.Value, index: Index | int) -> ir.Value:
        return self.builder.gep(base, [index.value if isinstance(index, Index) else ir.Constant(_INT, index)])

    def splat(self, index: Index) -> Vector:
        number = self.builder.load(self._pointer(self.numbers, index))
        single = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
        pattern = ir.Constant(ir.VectorType(ir.IntType(32), self.type.count), [0] * self.type.count)
        return Vector(self.builder, self.builder.shuffle_vector(single, single, pattern))


def vector_function(emit: Callable[..., None]) -> Any:
    """A numba function of flat float arrays, integers and tuples of integers, which arrive as Memory, Index, lists of Index."""

    @intrinsic
    def function(typing_context: Any, *kinds: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            def convert(kind: Any, value: ir.Value) -> Any:
                if isinstance(kind, types.Array):
                    return Memory(context, builder, kind, value)
                if isinstance(kind, types.BaseTuple):
                    return [convert(part, builder.extract_value(value, i)) for i, part in enumerate(kind)]  # type: ignore[var-annotated, arg-type]
                return Index(builder, context.cast(builder, value, kind, types.int64))

            emit(*convert(signature.args[0], values[0]))
            return context.get_dummy_value()

        return types.void(types.StarArgTuple.from_types(kinds)), generate

    return function

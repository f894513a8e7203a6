"""Steps that move amplitudes between rows: permutations, and fixed unitaries of several qubits."""

import numpy as np

from qmm.quantum.kernels import rows
from qmm.quantum.kernels.loops import inner, spread


@inner
def permute(target, state, image):
    for row in range(len(image)):
        rows.copy_row(target, image[row], state, row)


@inner
def permute_back(target, state, image):
    for row in range(len(image)):
        rows.copy_row(target, row, state, image[row])


@inner
def dense(target, state, denses, which, n, adjoint):
    size, first, start = denses.steps[which]
    qubits = denses.qubits[first : first + size]
    ordered = np.sort(qubits)
    offsets = np.zeros(1 << size, np.int64)
    for index in range(1 << size):
        for i in range(size):
            offsets[index] |= ((index >> i) & 1) << qubits[i]
    target[:] = 0
    for c in range(1 << (n - size)):
        z = c
        for i in range(size):
            z = spread(z, ordered[i])
        for i in range(1 << size):
            for j in range(1 << size):
                if adjoint:
                    rows.add_multiple_conj(
                        target, z | offsets[i], state, z | offsets[j], denses.matrices, start + (j << size) + i
                    )
                else:
                    rows.add_multiple(target, z | offsets[i], state, z | offsets[j], denses.matrices, start + (i << size) + j)

"""torch.compile and torch.export of models that contain the layer."""

import shutil
import subprocess
import sys

import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import nn

from qmm.quantum import Circuit, QuantumLayer

COMPILER = "inductor" if shutil.which("g++") else "aot_eager"


@pytest.fixture
def model() -> nn.Module:
    x, w = ParameterVector("x", 3), ParameterVector("w", 3)
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(x[q], q)
        circuit.rx(w[q], q)
    circuit.cx(0, 1)
    circuit.cz(1, 2)
    torch.manual_seed(0)
    layer = QuantumLayer(Circuit.of(circuit, x, w, ["ZZI", "IXY", "IIZ"]))
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), layer, nn.Linear(3, 2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_a_compiled_model_trains_as_the_plain_one(model):
    compiled = torch.compile(model, fullgraph=True, backend=COMPILER)
    for rows in (8, 5):
        inputs = torch.randn(rows, 4)
        gradients = []
        for run in (model, compiled):
            model.zero_grad()
            run(inputs).square().sum().backward()
            gradients.append([p.grad.clone() for p in model.parameters()])
        torch.testing.assert_close(gradients[1], gradients[0])
        torch.testing.assert_close(compiled(inputs), model(inputs))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own check looks at them
def test_the_operator_is_registered_as_torch_wants_it(model):
    layer = model[2]
    inputs = torch.randn(4, 3, requires_grad=True)
    arguments = (inputs, layer.weights.detach().requires_grad_(), *layer.compiled.serial())
    torch.library.opcheck(torch.ops.qmm.expectations.default, arguments)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_an_exported_model_runs_in_another_process(model, tmp_path):
    inputs = torch.randn(8, 4)
    program = torch.export.export(model, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(inputs[:3]), model(inputs[:3]))
    torch.export.save(program, tmp_path / "model.pt2")
    torch.save((inputs[:5], model(inputs[:5]).detach()), tmp_path / "expected.pt")
    code = f"""
import torch, qmm.quantum
program = torch.export.load({str(tmp_path / "model.pt2")!r})
inputs, expected = torch.load({str(tmp_path / "expected.pt")!r}, weights_only=True)
torch.testing.assert_close(program.module()(inputs), expected)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)

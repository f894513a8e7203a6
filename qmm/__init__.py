"""qmm: multimodal quantum language models. Names resolve lazily, so that `import qmm.quantum` stays light."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0.dev0"

_HOMES = {
    "Branch": "qmm.model",
    "MultimodalModel": "qmm.model",
    "RegisterLayout": "qmm.registers",
    "load": "qmm.loading",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'qmm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

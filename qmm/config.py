"""Objects that remember how they were built, as plain data: the same `class_path` / `init_args` that YAML uses."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Configurable:
    """Mixin: records the arguments of the outermost constructor call, so that `to_config` can write them down."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    def config_arguments(self) -> dict[str, Any]:
        """The constructor arguments that build an equal object. Override where what was given is not self-contained
        (a folder of weights, say) but its content is known by now."""
        return dict(self.__dict__.get("_arguments", {}))


def _recording(init: Any) -> Any:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        if "_arguments" not in self.__dict__:  # an inherited constructor, called by a subclass's, is not the outermost
            bound = signature.bind(self, *args, **kwargs)
            arguments = dict(list(bound.arguments.items())[1:])
            for name, parameter in signature.parameters.items():
                if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                    arguments.update(arguments.pop(name, {}))
            self.__dict__["_arguments"] = arguments
        init(self, *args, **kwargs)

    return wrapper


def to_config(value: Any, where: str = "") -> Any:
    """Plain data (dict, list, str, numbers, None) that describes `value`; a Configurable or a dataclass becomes class_path +
    init_args.

    Raises TypeError naming the argument when something in it has no plain form.
    """
    if isinstance(value, Configurable):
        arguments = {k: to_config(v, f"{where}{type(value).__name__}.{k}: ") for k, v in value.config_arguments().items()}
        return {"class_path": f"{type(value).__module__}.{type(value).__qualname__}", "init_args": arguments}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        arguments = {k: to_config(v, f"{where}{type(value).__name__}.{k}: ") for k, v in fields.items()}
        return {"class_path": f"{type(value).__module__}.{type(value).__qualname__}", "init_args": arguments}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): to_config(v, f"{where}{k}: ") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_config(v, f"{where}{i}: ") for i, v in enumerate(value)]
    raise TypeError(
        f"{where}a {type(value).__name__} cannot be written into a checkpoint as plain data; "
        "derive its class from qmm.config.Configurable, or pass numbers, strings, lists and dictionaries"
    )

"""What was probably meant by a name that does not exist: a class of a configuration, an argument, an option, a command."""

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Collection, Iterator

_CLASS = re.compile(r"class_path '(?P<path>[\w.]+)':\s+(?:module '[\w.]+' has no attribute|No module named)")
_SHORT = re.compile(r"Expected a dot import path string: (?P<name>\w+)")
_ARGUMENT = re.compile(r"class_path '(?P<path>[\w.]+)':\s+Option '(?P<name>\w+)[\w.]*' is not accepted")
_OPTION = re.compile(r"(?:\AOption '|does not accept option '|[Uu]nrecognized arguments: --)(?P<name>[\w.]+)")


def did_you_mean(wanted: str, offered: Collection[str]) -> str:
    """ "; did you mean 'pairs'?", or nothing where no name is near."""
    close = difflib.get_close_matches(wanted, offered, n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def suggestions(message: str, options: Collection[str] = ()) -> list[str]:
    """What a parser's error message leaves unsaid, a line for each name in it that does not exist.

    `options`: the names of the parser's own.
    """
    found = [_about_class(match["path"]) for match in _CLASS.finditer(message)]
    found += [_about_class(match["name"]) for match in _SHORT.finditer(message)]
    found += [_about_argument(match["path"], match["name"]) for match in _ARGUMENT.finditer(message)]
    found += [_about_option(match["name"], options) for match in _OPTION.finditer(message)]
    return list(dict.fromkeys(line for line in found if line))


def exported_classes(module: str) -> dict[str, str]:
    """Name -> full path of the classes that a module, or else a package of qmm, offers; none where it cannot be imported."""
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        return {}
    names = getattr(loaded, "__all__", None) or [name for name in dir(loaded) if not name.startswith("_")]
    return {name: f"{module}.{name}" for name in names if inspect.isclass(getattr(loaded, name, None))}


def _about_class(path: str) -> str:
    """Near names of the same module; where there are none, those of qmm's packages, as for a right name in a wrong place."""
    module, _, name = path.rpartition(".")
    here = exported_classes(module) if module else {}
    near = [here[close] for close in difflib.get_close_matches(name, here, n=2, cutoff=0.7)]
    if not near:
        everywhere = [item for package in _packages() for item in exported_classes(package).items()]
        close = difflib.get_close_matches(name, [name for name, _ in everywhere], n=2, cutoff=0.75)
        near = sorted({path for name, path in everywhere if name in close})
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = f"; {module} has {', '.join(sorted(here))}" if here and not near else ""
    return f"there is no {path}{meant}{listed}"


def _packages() -> Iterator[str]:
    import qmm

    return (f"qmm.{package.name}" for package in pkgutil.iter_modules(qmm.__path__) if package.ispkg)


def _about_argument(path: str, name: str) -> str:
    module, _, class_name = path.rpartition(".")
    accepted = list(dict.fromkeys(_arguments(getattr(importlib.import_module(module), class_name))))
    return f"{path} has no argument {name!r} (it takes {', '.join(accepted) or 'none'}){did_you_mean(name, accepted)}"


def _arguments(made: type) -> Iterator[str]:
    """The constructor's, and those of the base classes that it hands the rest to."""
    for base in made.__mro__:
        if "__init__" in base.__dict__:
            parameters = list(inspect.signature(base.__init__).parameters.values())[1:]  # type: ignore[misc]
            yield from (p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
            if all(p.kind is not p.VAR_KEYWORD for p in parameters):
                return


def _about_option(name: str, options: Collection[str]) -> str:
    """An option by its whole name; `mdel.init_args.model` by its first part."""
    first, dot, rest = name.partition(".")
    meant = did_you_mean(name, options)
    if not meant and first not in options and (close := difflib.get_close_matches(first, options, n=1)):
        meant = f"; did you mean {close[0] + dot + rest!r}?"
    return f"there is no option {name!r}{meant}" if meant else ""

"""Every cloud, one folder each. The folder is the registration: nothing else knows its name.

A folder exposes its provider class as ``PROVIDER`` and, where people know it by other names too, ``ALIASES``. Installed
packages add names through the ``exatlas.providers`` entry-point group, whose entries point at a provider class.
Nothing is imported before it is asked for.
"""

import logging
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from exatlas.errors import ConfigError
from exatlas.protocols import Provider, ProviderSettings

ProviderChoice = str | type[Provider] | Provider
"""How callers name a provider: a registered name, a class, or an instance of their own."""

GROUP = "exatlas.providers"
"""The entry-point group."""

_REQUIRED = ("spawn_compute", "get_compute", "list_compute", "terminate")

_log = logging.getLogger("exatlas.providers")


def __getattr__(name: str) -> ModuleType:
    """Import a provider's folder on first use, so that ``exatlas.providers.runpod`` just works."""
    if name in _folders():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def resolve(choice: ProviderChoice) -> Provider:
    """Turn a name or a class into a new instance; give an instance back as it is.

    Raises:
        ConfigError: nothing has that name, or the thing is not a provider.
    """
    instance = find(choice)() if isinstance(choice, str) else choice() if isinstance(choice, type) else choice
    _check(instance)
    return instance


def find(name: str) -> type[Provider]:
    """The provider class that a name stands for: a folder here, another name of one, or an entry point.

    Raises:
        ConfigError: nothing has that name; the message lists what there is.
    """
    if name in _folders():
        return _builtin(name)
    folder = _aliases().get(name)
    if folder is not None:
        return _builtin(folder)
    for entry in _installed():
        if entry.name == name:
            return _load(entry)
    raise ConfigError(f"no provider is named {name!r}{_nearest(name)}; there are {', '.join(names())}")


def names() -> tuple[str, ...]:
    """Every name that :func:`find` accepts, sorted. Imports the built-in folders, for their other names."""
    return tuple(sorted({*_folders(), *_aliases(), *(entry.name for entry in _installed())}))


def list_providers() -> dict[str, type[Provider]]:
    """Every provider class by its own name, built in or installed. What a class can do is its ``capabilities``.

    Imports all of them. An installed one that cannot be imported is left out, with a warning in the log.
    """
    found = {cls.name: cls for cls in builtins()}
    for entry in _installed():
        try:
            found.setdefault(entry.name, _load(entry))
        except ConfigError as error:
            _log.warning("provider %r is left out: %s", entry.name, error)
    return dict(sorted(found.items()))


def builtins() -> Iterator[type[Provider]]:
    """The classes of the built-in providers."""
    return (_builtin(folder) for folder in _folders())


@cache
def _folders() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.ispkg))


@cache
def _aliases() -> Mapping[str, str]:
    return {alias: folder for folder in _folders() for alias in getattr(_import(folder), "ALIASES", ())}


@cache
def _installed() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _import(folder: str) -> ModuleType:
    return import_module(f"{__name__}.{folder}")


def _builtin(folder: str) -> type[Provider]:
    cls: type[Provider] = _import(folder).PROVIDER
    return cls


def _load(entry: EntryPoint) -> type[Provider]:
    try:
        cls: Any = entry.load()
    except Exception as error:
        # Supervised boundary: a stranger's module may raise anything while it is imported.
        raise ConfigError(f"the installed provider {entry.name!r} ({entry.value}) cannot be imported") from error
    if not isinstance(cls, type):
        raise ConfigError(f"the entry point {entry.name!r} ({entry.value}) is not a provider class")
    return cls


def _nearest(name: str) -> str:
    close = get_close_matches(name.lower(), names(), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _check(instance: Any) -> None:
    """Refuse things that only look like providers, before they are called."""
    cls = type(instance)
    faults = [
        f"{what} (expected {expected})"
        for what, expected, holds in (
            ("name", "a non-empty string", bool(isinstance(getattr(cls, "name", None), str) and cls.name)),
            ("capabilities", "a frozenset of Capability", isinstance(getattr(cls, "capabilities", None), frozenset)),
            ("settings", "ProviderSettings", isinstance(getattr(cls, "settings", None), ProviderSettings)),
            *((method, "a coroutine function", callable(getattr(cls, method, None))) for method in _REQUIRED),
        )
        if not holds
    ]
    if faults:
        raise ConfigError(
            f"{cls.__name__} is not a provider; expected a name, a class or an instance of one. "
            f"Missing or wrong: {', '.join(faults)}"
        )

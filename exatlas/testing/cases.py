"""Finds the case that a word means, and serves a fake's case over real sockets."""

import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from attrs import evolve

from exatlas.errors import ConfigError
from exatlas.fakes import Case, FakeCloud, OpenCase
from exatlas.protocols import Clock
from exatlas.providers import find
from exatlas.testing.clocks import FastClock
from exatlas.testing.clouds import serve

SPEED = 200.0
"""How much faster than the world a served fake's clock runs. A minute of patience has to last on a busy machine."""
REQUEST_TIMEOUT_S = 1.0
"""Real seconds for each request over loopback: enough on a busy machine, and few where a reply never comes."""

EVERY_STEP = 10
"""Steps that are tried one by one over loopback, where each of them takes real time."""


def open_case(target: str) -> OpenCase:
    """The case that a target means.

    Args:
        target: A provider's name, ``module:case``, or ``module:Provider`` with a class or an instance. A provider's
            case is looked for in the module and beside the class, as ``case`` of the module itself, of its submodule
            ``case`` or of its submodule ``testing``. Without one, the case has no cloud, and says so.

    Raises:
        ConfigError: there is no such thing, or it is neither a case nor a provider.
    """
    return _look_up(target)[1]


def module_of(target: str) -> Any:
    """The module that holds the case of a target: ``case()``, ``fake(clock)`` and ``case_of(fake, **options)``.

    Raises:
        ConfigError: nothing has that name, or it has no case with a fake that can be served.
    """
    module = _look_up(target)[0]
    if not all(hasattr(module, name) for name in ("fake", "case_of")):
        raise ConfigError(
            f"{target!r} brings no fake that can be served: the module of its case needs `fake(clock)` and "
            "`case_of(fake, **options)`"
        )
    return module


def over_loopback(target: str) -> OpenCase:
    """The case of a provider whose fake is served on loopback and met by the real transport.

    Raises:
        ConfigError: see :func:`module_of`.
    """
    module = module_of(target)
    make_fake: Callable[[Clock], FakeCloud] = module.fake
    case_of: Callable[..., Case] = module.case_of

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Case, None]:
        fake = make_fake(FastClock(SPEED))
        async with serve(fake.handle) as origin:
            case = case_of(fake, base_urls={fake.provider: fake.base_urls(origin)}, timeout=REQUEST_TIMEOUT_S)
            yield evolve(case, every_step=EVERY_STEP)

    return opened


def _look_up(target: str) -> tuple[ModuleType | None, OpenCase]:
    """The module of a target's case, if it has one, and the case."""
    if ":" not in target:
        provider: Any = find(target)
        return _case_of(target, provider, provider.__module__)
    name, _, attribute = target.partition(":")
    try:
        module: Any = import_module(name)
        found = module
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{target!r} cannot be found: {error}") from error
    if hasattr(found, "spawn_compute"):
        return _case_of(target, found, name)
    if not callable(found):
        raise ConfigError(f"{target!r} is neither a provider nor an async context manager function that gives a Case")
    return module, found


def _case_of(target: str, provider: Any, named: str) -> tuple[ModuleType | None, OpenCase]:
    cls = provider if isinstance(provider, type) else type(provider)
    homes = list(_homes(named, cls.__module__))
    for home in homes:
        module = _imported(home)
        case = getattr(module, "case", None)
        if inspect.isroutine(case):
            return module, _only_of(cls, case, home)
    return None, _without_cloud(target, provider, f"no case is in {', '.join(homes)}")


def _homes(*modules: str) -> Iterator[str]:
    """The modules that may hold a provider's case: the ones it is in, and what lies beside and below them."""
    packages = (module.rpartition(".")[0] for module in modules)
    for module in dict.fromkeys(filter(None, (*modules, *packages))):
        yield from (module, f"{module}.case", f"{module}.testing")


def _imported(name: str) -> ModuleType | None:
    """A module, or None where there is none of that name. One that is there has to be sound."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return None
        raise ConfigError(f"{name} cannot be imported: {error}") from error
    except ImportError as error:
        raise ConfigError(f"{name} cannot be imported: {error}") from error


def _only_of(cls: type, case: OpenCase, home: str) -> OpenCase:
    """The case, refused when it turns out to try another provider than the one that was named."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Case, None]:
        async with case() as given:
            if not isinstance(given.provider, cls):
                raise ConfigError(f"the case in {home} tries {type(given.provider).__name__}, not {cls.__name__}")
            yield given

    return opened


def _without_cloud(target: str, provider: Any, why: str) -> OpenCase:
    def opened() -> AbstractAsyncContextManager[Case]:
        return _alone(target, provider, why)

    return opened


@asynccontextmanager
async def _alone(target: str, provider: Any, why: str) -> AsyncGenerator[Case, None]:
    try:
        instance = provider() if isinstance(provider, type) else provider
    except TypeError as error:
        raise ConfigError(f"{target!r} cannot be made without arguments; name an instance: {error}") from error
    yield Case(provider=instance, request={}, unknown_id="", rented=tuple, requests=int, no_cloud=why)

"""Finds the case that a word means, and serves a fake's case over real sockets."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
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


def module_of(name: str) -> Any:
    """The module `case` of a built-in provider: ``case()``, ``fake(clock)`` and ``case_of(fake, **options)``.

    Raises:
        ConfigError: nothing has that name, or it has no case.
    """
    home = find(name).__module__.rpartition(".")[0]
    try:
        return import_module(f"{home}.case")
    except ModuleNotFoundError as error:
        raise ConfigError(f"the provider {name!r} brings no case for the conformance suite") from error


def open_case(target: str) -> OpenCase:
    """The case that a target means: a built-in provider's name, or ``module:attribute``.

    Raises:
        ConfigError: there is no such thing, or it cannot be called.
    """
    if ":" not in target:
        found: OpenCase = module_of(target).case
        return found
    module, _, attribute = target.partition(":")
    try:
        case: Any = import_module(module)
        for part in attribute.split("."):
            case = getattr(case, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{target!r} cannot be found: {error}") from error
    if not callable(case):
        raise ConfigError(f"{target!r} is not an async context manager function that gives a Case")
    opened: OpenCase = case
    return opened


def over_loopback(name: str) -> OpenCase:
    """The case of a built-in provider whose fake is served on loopback and met by the real transport."""
    module = module_of(name)
    make_fake: Callable[[Clock], FakeCloud] = module.fake
    case_of: Callable[..., Case] = module.case_of

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Case, None]:
        fake = make_fake(FastClock(SPEED))
        async with serve(fake.handle) as origin:
            case = case_of(fake, base_urls={fake.provider: fake.base_urls(origin)}, timeout=REQUEST_TIMEOUT_S)
            yield evolve(case, every_step=EVERY_STEP)

    def open_it() -> AbstractAsyncContextManager[Case]:
        return opened()

    return open_it

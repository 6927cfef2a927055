"""The class itself: what it declares, and what it has."""

import inspect
from typing import Any

from exatlas.capabilities import OPERATION_NEEDS, Capability
from exatlas.errors import AtlasError, UnsupportedError
from exatlas.protocols import ProviderSettings
from exatlas.testing.conformance.world import World, check, expect, raises

STREAMS = frozenset({"stream_job", "stream_events", "stream_logs"})
REQUIRED = ("spawn_compute", "get_compute", "list_compute", "terminate")


@check(on_cloud=False)
async def declares_name_settings_and_capabilities(world: World) -> None:
    """The class has a name, settings, and a frozenset of capabilities."""
    cls: Any = type(world.case.provider)
    expect(isinstance(cls.name, str) and cls.name, "name is not a non-empty string on the class")
    expect(isinstance(cls.settings, ProviderSettings), "settings are not ProviderSettings on the class")
    expect(isinstance(cls.capabilities, frozenset), "capabilities are not a frozenset on the class")
    strange = [item for item in cls.capabilities if not isinstance(item, Capability)]
    expect(not strange, f"capabilities hold {strange}, which are no members of Capability")


@check(on_cloud=False)
async def has_every_required_operation(world: World) -> None:
    """Every provider can spawn, get, list and terminate, by coroutine functions."""
    for operation in REQUIRED:
        found = getattr(world.case.provider, operation, None)
        expect(inspect.iscoroutinefunction(found), f"{operation} is not a coroutine function")


@check(on_cloud=False)
async def has_what_it_declares(world: World) -> None:
    """Every operation whose capability is declared is there: a coroutine function, or an async generator."""
    provider = world.case.provider
    for operation, need in OPERATION_NEEDS.items():
        if need not in provider.capabilities:
            continue
        found = getattr(provider, operation, None)
        expect(callable(found), f"{need.value!r} is declared, and {operation} is missing")
        if operation not in STREAMS:
            expect(inspect.iscoroutinefunction(found), f"{operation} is not a coroutine function")


@check(on_cloud=False)
async def declares_what_it_has(world: World) -> None:
    """No operation is there whose capability is not declared."""
    provider = world.case.provider
    for operation, need in OPERATION_NEEDS.items():
        if need not in provider.capabilities:
            expect(not hasattr(provider, operation), f"{operation} is there, and {need.value!r} is not declared")


@check()
async def refuses_undeclared_fields_before_anything_is_sent(world: World) -> None:
    """A request field that needs an undeclared capability is an UnsupportedError, and nothing is sent."""
    wishes: dict[Capability, dict[str, Any]] = {
        Capability.SPOT: {"spot": True},
        Capability.CPU_ONLY: {"gpu": None, "gpu_count": 1},
        Capability.NETWORK_VOLUMES: {"network_volume_id": "volume"},
        Capability.HTTP_PROXY: {"ports": [(8000, "http")]},
        Capability.RAW_TCP: {"ports": [(8000, "tcp")]},
    }
    for capability, wish in wishes.items():
        if capability in world.case.provider.capabilities:
            continue
        before = world.case.requests()
        error = await raises(UnsupportedError, world.spawn(**wish), f"a spawn with {wish}")
        expect(error.capability == capability.value, f"the error for {wish} names {error.capability!r}")
        expect(world.case.requests() == before, f"a spawn with {wish} was sent")


@check()
async def honours_declared_fields_or_says_why_not(world: World) -> None:
    """A request field whose capability is declared is not called unsupported for want of that capability."""
    wishes: dict[Capability, dict[str, Any]] = {
        Capability.SPOT: {"spot": True},
        Capability.HTTP_PROXY: {"ports": [(8000, "http")]},
        Capability.RAW_TCP: {"ports": [(8000, "tcp")]},
    }
    for capability, wish in wishes.items():
        if capability not in world.case.provider.capabilities:
            continue
        try:
            await world.spawn(**wish)
        except UnsupportedError as error:
            expect(False, f"{capability.value!r} is declared, and a spawn with {wish} is refused: {error}")
        except AtlasError:
            continue


@check()
async def does_not_drop_what_no_cloud_field_can_hold(world: World) -> None:
    """A udp port, which no capability covers, is honoured or an UnsupportedError, never dropped in silence."""
    try:
        compute = await world.spawn(ports=[(9000, "udp")])
    except UnsupportedError:
        return
    kept = [port for port in compute.ports if port.internal == 9000 and port.protocol == "udp"]
    expect(kept, "a udp port was asked for, accepted, and is not among the machine's ports")


CHECKS = (
    declares_name_settings_and_capabilities,
    has_every_required_operation,
    has_what_it_declares,
    declares_what_it_has,
    refuses_undeclared_fields_before_anything_is_sent,
    honours_declared_fields_or_says_why_not,
    does_not_drop_what_no_cloud_field_can_hold,
)

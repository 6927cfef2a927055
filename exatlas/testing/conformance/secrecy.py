"""What nobody may read: keys, environment values, minted tokens."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import orjson

from exatlas.errors import AtlasError
from exatlas.fakes.case import NotApplicableError
from exatlas.fakes.faults import Fault
from exatlas.records.serial import unstructure
from exatlas.testing.conformance.world import Check, World, check, expect

FAULTS = (Fault.ERROR_BEFORE, Fault.GARBAGE_AFTER, Fault.DROP_AFTER, Fault.LIMITED, Fault.EDGE)


@check()
async def records_hide_secrets(world: World) -> None:
    """No key and no environment value is in a record, its repr, its raw or its serialised form."""
    spawned = await world.spawn()
    seen = [spawned, await world.atlas.get_compute(spawned), *await world.atlas.list_compute()]
    for compute in seen:
        _look(world, f"{compute!r} {compute.raw!r}", "a Compute")
        _look(world, orjson.dumps(unstructure(compute)).decode(), "a serialised Compute")


@check()
async def a_minted_token_is_given_once(world: World) -> None:
    """With auth="bearer" the token is in the spawn's own answer and in no repr, no read and no raw."""
    spawned = await world.spawn(auth="bearer")
    token = (spawned.auth.token if spawned.auth else None) or ""
    expect(token, "a spawn with auth='bearer' gave no token")
    found = await world.atlas.get_compute(spawned)
    expect(found.auth is None, "a read gives a token away")
    shown = f"{spawned!r} {spawned.raw!r} {found!r} {found.raw!r} {world.records!r}"
    expect(token not in shown, "the token is in a repr, a raw or a request record")


def _errors_hide_secrets(fault: Fault) -> Check:
    async def run(world: World) -> None:
        world.trouble(fault, "spawn_compute", 5)
        world.trouble(fault, "list_compute", 1000)
        try:
            await world.spawn()
        except AtlasError as error:
            _look(world, _told(error), f"the error of a spawn that met {fault.value}")
        try:
            await world.atlas.list_compute()
        except AtlasError as error:
            _look(world, _told(error), f"the error of a list that met {fault.value}")

    rule = f"No key and no environment value is in an error that {fault.value} leads to, its cause or its notes."
    return Check(f"errors_after_{fault.value}_hide_secrets", rule, run, None)


@check()
async def request_records_hide_secrets_and_ids(world: World) -> None:
    """What hooks hear names the operation and a URL template, and neither keys nor ids."""
    compute = await world.spawn()
    await world.atlas.get_compute(compute)
    await world.atlas.terminate(compute)
    if world.case.requests() == 0:
        raise NotApplicableError("the provider sends no requests")
    expect(world.records, "hooks have heard nothing")
    for record in world.records:
        told = repr(attrs.asdict(record))
        _look(world, told, "a request record")
        expect(compute.id not in told, f"the record of {record.operation} holds the machine's id")
    operations = {record.operation for record in world.records}
    expect("spawn_compute" in operations and "terminate" in operations, f"the operations are called {operations}")


@check()
async def logs_hide_secrets(world: World) -> None:
    """No log line of exatlas holds a key or an environment value."""
    with _heard() as lines:
        compute = await world.spawn()
        with suppress(NotApplicableError):
            world.trouble(Fault.ERROR_BEFORE, "get_compute")
        await world.atlas.get_compute(compute)
        await world.atlas.terminate(compute)
    _look(world, "\n".join(lines), "a log line")


def _told(error: BaseException | None) -> str:
    """Everything that an error and what it came from would show to somebody."""
    parts: list[str] = []
    while error is not None:
        parts += [str(error), repr(error), repr(getattr(error, "raw", "")), *getattr(error, "__notes__", ())]
        error = error.__cause__ or error.__context__
    return "\n".join(parts)


def _look(world: World, text: str, where: str) -> None:
    env: dict[str, str] = dict(world.case.request.get("env", {}))
    for name, value in env.items():
        expect(value not in text, f"the value of {name} is in {where}")
    for number, secret in enumerate(world.case.secrets, start=1):
        expect(secret not in text, f"secret {number} of the case is in {where}")


@contextmanager
def _heard() -> Iterator[list[str]]:
    """All that the library logs, at every level."""
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.getMessage()} {_extras(record)}")

    logger, ear = logging.getLogger("exatlas"), Ear()
    level = logger.level
    logger.addHandler(ear)
    logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    plain = logging.makeLogRecord({}).__dict__
    return {key: value for key, value in record.__dict__.items() if key not in plain}


CHECKS = (
    records_hide_secrets,
    a_minted_token_is_given_once,
    *(_errors_hide_secrets(fault) for fault in FAULTS),
    request_records_hide_secrets_and_ids,
    logs_hide_secrets,
)

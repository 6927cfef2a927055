"""Storage that outlives machines. It bills by what is on it until it is deleted, attached or not, in one region.

Source: https://docs.lambda.ai/api/cloud (`/filesystems`, `/file-systems`) and
https://docs.lambda.ai/public-cloud/filesystems/, read 2026-11-23.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from attrs import field, frozen

from exatlas.errors import AtlasError, NotFoundError, OutcomeUnknownError, ValidationError, faults_of
from exatlas.launch import may_have_acted
from exatlas.protocols import Context
from exatlas.providers.lambda_labs import normalize, translate
from exatlas.providers.lambda_labs.exchange import ask
from exatlas.records import checks
from exatlas.transport.asking import done
from exatlas.transport.shape import Fields

LONGEST_NAME = 60
MOUNTS = "/lambda/nfs"
"""Where machines have filesystems by default."""
CLOCK_DOUBT = timedelta(minutes=5)
"""How far Lambda's clock and ours may be apart."""
LOOKS_S = (1.0, 4.0)

_NAME = re.compile(r"[a-zA-Z]+[0-9a-zA-Z-]*", re.ASCII)


@frozen(kw_only=True)
class Filesystem:
    """One filesystem. Its id or its name is what `network_volume_id` takes; the machine must be in the same region."""

    id: str
    name: str
    region: str | None = None
    mount_point: str
    """Where machines have it, unless a launch says otherwise; the container sees it at its own mount path."""
    bytes_used: int | None = None
    """As of some hours ago."""
    is_in_use: bool | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)


async def create(ctx: Context, *, name: str, region: str) -> Filesystem:
    """Make a filesystem. When the answer is lost, it is looked for by its name, which is unique in the account.

    Raises:
        ConflictError: the name is taken.
        OutcomeUnknownError: it may have been created; look at :func:`list` before trying again.
    """
    faults = faults_of({"name": _name_fault(name), "region": checks.text(region)})
    if faults:
        raise ValidationError("filesystem", faults, provider=ctx.provider, operation="create_filesystem")
    begun = ctx.clock.now()
    try:
        return await ask(ctx, translate.add_filesystem(name, region, ctx), lambda reply: _read(normalize.data(reply)))
    except AtlasError as error:
        if not may_have_acted(error):
            raise
        cause = error
    for wait_s in LOOKS_S:
        await ctx.clock.sleep(wait_s)
        for found in await _all(ctx, "create_filesystem"):
            if found.name == name and found.region == region and _is_new(found, begun):
                return found
    raise OutcomeUnknownError(
        f"a filesystem named {name!r} may have been created: the call ended in {type(cause).__name__} "
        f"({cause.message}); list them before creating it again",
        provider=ctx.provider,
        operation="create_filesystem",
        status=cause.status,
        request_id=cause.request_id,
    ) from cause


async def list(ctx: Context) -> tuple[Filesystem, ...]:  # noqa: A001 - read as `filesystems.list`
    """Every filesystem of the account."""
    return await _all(ctx, "list_filesystems")


async def delete(ctx: Context, filesystem_id: str) -> None:
    """Delete a filesystem and what is on it. One that is gone already is not an error.

    Raises:
        ConflictError: a machine has it.
    """
    try:
        await ask(ctx, translate.delete_filesystem(filesystem_id, ctx), done)
    except NotFoundError:
        return


async def find(id_or_name: str, ctx: Context) -> Filesystem:
    """The filesystem that a request's `network_volume_id` means.

    Raises:
        NotFoundError: the account has none with that id or name.
    """
    found = await _all(ctx, "spawn_compute")
    by_id = (each for each in found if each.id == id_or_name)
    by_name = (each for each in found if each.name == id_or_name)
    meant = next(by_id, None) or next(by_name, None)
    if meant is None:
        raise NotFoundError(
            f"the account has no filesystem with the id or name {id_or_name!r:.80}; it has "
            f"{', '.join(each.name for each in found) or 'none'}",
            provider=ctx.provider,
            operation="spawn_compute",
        )
    return meant


async def _all(ctx: Context, operation: str) -> tuple[Filesystem, ...]:
    found = await ask(ctx, translate.list_filesystems(ctx, operation), normalize.rows)
    return tuple(_read(row) for row in found)


def _name_fault(name: object) -> str | None:
    if isinstance(name, str) and len(name) <= LONGEST_NAME and _NAME.fullmatch(name):
        return None
    return f"expected a letter, then letters, digits and hyphens, {LONGEST_NAME} at most; {checks.given(name)}"


def _is_new(found: Filesystem, begun: datetime) -> bool:
    return found.created_at is None or found.created_at >= begun - CLOCK_DOUBT


def _read(body: Fields) -> Filesystem:
    region = body.object("region")
    name = body.required_text("name")
    return Filesystem(
        id=body.required_text("id"),
        name=name,
        region=region.text("name") if region else None,
        mount_point=body.text("mount_point") or f"{MOUNTS}/{name}",
        bytes_used=body.whole("bytes_used"),
        is_in_use=body.flag("is_in_use"),
        created_at=body.instant("created"),
        raw=body.raw,
    )

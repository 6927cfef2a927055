"""Storage that outlives machines. It bills until it is deleted, attached or not, and is tied to one region.

Source: https://docs.runpod.io/api-reference-v2 (`/v2/network-volumes`), read 2026-11-23.
"""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from exatlas.errors import ValidationError, faults_of
from exatlas.protocols import Context
from exatlas.providers.runpod.resources import Kind
from exatlas.records import checks
from exatlas.transport.shape import Fields

SMALLEST_GB = 10
LARGEST_GB = 4096

_KIND = Kind("network volume", "/network-volumes", "networkVolumes")


@frozen(kw_only=True)
class NetworkVolume:
    """One volume. Its id is what `network_volume_id` takes; the machine must be in the same region."""

    id: str
    name: str | None = None
    size_gb: int | None = None
    region: str | None = None
    tier: str | None = None
    """`STANDARD` or `HIGH_PERFORMANCE`, in RunPod's words."""
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)


async def create(
    ctx: Context,
    *,
    name: str,
    size_gb: int,
    region: str,
    tier: Literal["STANDARD", "HIGH_PERFORMANCE"] | None = None,
) -> NetworkVolume:
    """Create a volume; it can grow later and never shrink. None as `tier` takes the region's own default.

    Raises:
        OutcomeUnknownError: it may have been created; look at :func:`list` before trying again.
    """
    faults = faults_of(
        {
            "name": checks.text(name),
            "size_gb": _size(size_gb),
            "region": checks.text(region),
            "tier": checks.optional(checks.member("STANDARD", "HIGH_PERFORMANCE"))(tier),
        }
    )
    if faults:
        raise ValidationError("network volume", faults, provider=ctx.provider, operation="create_network_volume")
    body = {"name": name, "size": size_gb, "dataCenter": region, **({"type": tier} if tier else {})}
    return await _KIND.create(ctx, body, _read)


async def list(ctx: Context) -> tuple[NetworkVolume, ...]:  # noqa: A001 - read as `network_volumes.list`
    """Every volume of the account."""
    return await _KIND.list(ctx, _read)


async def get(ctx: Context, volume_id: str) -> NetworkVolume:
    """Read one volume. Raises NotFoundError."""
    return await _KIND.get(ctx, volume_id, _read)


async def delete(ctx: Context, volume_id: str) -> None:
    """Delete a volume and what is on it. One that is gone already is not an error."""
    await _KIND.delete(ctx, volume_id)


def _size(value: int) -> str | None:
    fault = checks.whole(SMALLEST_GB)(value)
    return fault or (f"expected at most {LARGEST_GB}, got {value}" if value > LARGEST_GB else None)


def _read(body: Fields) -> NetworkVolume:
    return NetworkVolume(
        id=body.required_text("id"),
        name=body.text("name"),
        size_gb=body.whole("size"),
        region=body.text("dataCenter"),
        tier=body.text("type"),
        raw=body.raw,
    )

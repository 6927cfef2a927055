"""What a machine may cost an hour, before there is one."""

from decimal import Decimal
from typing import Any

from attrs import define

from exatlas.capabilities import Capability
from exatlas.client.atlas import Atlas
from exatlas.errors import AtlasError
from exatlas.protocols import Clock
from exatlas.records.compute import ComputeRequest
from exatlas.records.gpu import GpuType, gpu_names

FRESH_S = 60.0
"""How long a catalogue is good for."""


@define
class _Catalogue:
    types: list[GpuType]
    read_at: float


class Estimates:
    """Reads catalogues, each at most once a minute and account."""

    def __init__(self, atlas: Atlas, clock: Clock) -> None:
        self._atlas = atlas
        self._clock = clock
        self._known: dict[str, _Catalogue] = {}

    async def usd_per_hour(self, request: ComputeRequest, options: dict[str, Any]) -> Decimal | None:
        """The dearest that the request may come to; None where the cloud tells no such price beforehand.

        Costs one request where the catalogue is not known yet. Disks may come on top.
        """
        provider = self._atlas.provider(options.get("provider"))
        if request.gpu is None or Capability.GPU_CATALOG not in provider.capabilities:
            return None
        try:
            types = await self._types(options)
        except AtlasError:
            return None
        prices = [_price(one, spot=request.spot) for one in types if _may_be(one, request.gpu)]
        known = [price for price in prices if price is not None]
        return max(known) * request.gpu_count if known else None

    async def _types(self, options: dict[str, Any]) -> list[GpuType]:
        account = (await self._atlas.context(**options)).account
        known = self._known.get(account)
        now = self._clock.monotonic()
        if known is None or now - known.read_at > FRESH_S:
            self._known[account] = known = _Catalogue(await self._atlas.list_gpu_types(**options), now)
        return known.types


def _may_be(one: GpuType, wanted: tuple[str, ...]) -> bool:
    return any(one.id == name or (one.canonical is not None and one.canonical in gpu_names(name)) for name in wanted)


def _price(one: GpuType, *, spot: bool) -> Decimal | None:
    return one.spot_price_usd_per_hour if spot else one.price_usd_per_hour

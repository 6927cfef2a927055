"""The Fly.io provider: each operation translates, sends, and reads; the steps live beside their nouns."""

from collections.abc import AsyncGenerator
from typing import ClassVar

from exatlas.capabilities import Capability
from exatlas.protocols import Context, ProviderSettings, UrlSetting
from exatlas.providers.fly import finding, lifecycle, logs, machines
from exatlas.providers.fly.options import Settings
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.gpu import GpuType
from exatlas.records.job import LogLine


class FlyProvider:
    """Fly.io through the Machines API: CPU machines. Holds no state, only what it was made with.

    Compute ids are `app/machine`. A bare machine id is understood too, and costs a list of everything.

    Args:
        app: Put every machine into this app and look in no other, as a token for one app demands. Without it each
            machine gets an app of its own, and with it its own URL.
        org: The organisation's slug; None takes the one that the token is for.
        owner: Written on every machine; None writes the account's fingerprint.
    """

    name: ClassVar[str] = "fly"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.NETWORK_VOLUMES,
            Capability.HTTP_PROXY,
            Capability.RAW_TCP,
            Capability.SYMMETRIC_PORTS,
            Capability.GLOBAL_NETWORKING,
            Capability.STOP_START,
            Capability.GPU_CATALOG,
            Capability.LOGS,
            Capability.CPU_ONLY,
        }
    )
    settings: ClassVar[ProviderSettings] = ProviderSettings(
        key_env=("FLY_API_TOKEN",),
        urls={
            "machines": UrlSetting(default="https://api.machines.dev", env="FLY_FLAPS_BASE_URL"),
            "platform": UrlSetting(default="https://api.fly.io", env="FLY_API_BASE_URL"),
        },
    )

    def __init__(self, *, app: str | None = None, org: str | None = None, owner: str | None = None) -> None:
        self._settings = Settings(app=app, org=org, owner=owner)

    async def spawn_compute(self, request: ComputeRequest, ctx: Context, /) -> Compute:
        """Rent one machine. One create per region hint, in order, the next only when Fly has no room in the last.

        Takes four to eight requests, and about a second for each machine beyond the third at once, because Fly creates
        one app a second. App, addresses and volume that were made on the way go when the machine does not come to be.

        Raises:
            ValidationError, UnsupportedError: Fly cannot rent this (no GPUs since 2026-08-01); nothing was sent.
            NoCapacityError, QuotaError: no region that was tried has room; nothing was rented.
            ConflictError: the app's name belongs to somebody else.
            OutcomeUnknownError: something may have been rented, was not found, and was cleared up as far as it shows.
        """
        return await machines.spawn(request, self._settings, ctx)

    async def get_compute(self, compute_id: str, ctx: Context, /) -> Compute:
        """Read one machine. A terminated one reads as terminated for a while, then raises NotFoundError (after 1 s)."""
        return await machines.get(compute_id, self._settings, ctx)

    async def list_compute(self, filters: ComputeFilter, ctx: Context, /) -> list[Compute]:
        """Read all machines that exatlas made and that pass the filter, in every app of the token's organisations.

        They are known by their metadata; what others run in the same organisations is left out. Addresses are those of
        the spawn. A machine may be missing for seconds after its creation.

        Raises:
            ProviderBrokenError: a region stays silent, so the list would not be complete.
        """
        return await machines.list_all(filters, self._settings, ctx)

    async def terminate(self, compute_id: str, ctx: Context, /) -> None:
        """Destroy the machine in whatever state it is, and the volume and the app that were made for it.

        Volumes that were attached by `network_volume_id` survive, and so does an app that others use too. Repeating it
        is not an error.

        Raises:
            ProviderBrokenError: the machine's volume could not be deleted within half a minute, and goes on billing.
        """
        await machines.terminate(compute_id, self._settings, ctx)

    async def stop(self, compute_id: str, ctx: Context, /) -> None:
        """Stop the machine and wait for it, up to two minutes; one that takes longer is on its way.

        Its volume and its root file system go on billing; what was written to the latter is lost.
        """
        place = await finding.locate(compute_id, self._settings, ctx, "stop")
        await lifecycle.bring(place, lifecycle.STOP, ctx)

    async def start(self, compute_id: str, ctx: Context, /) -> None:
        """Start the machine on its host and wait for it, up to two minutes; one that takes longer is on its way.

        Raises:
            NoCapacityError: the host is full. Terminate it and spawn a new one.
            ConflictError: it failed, or its state does not allow a start.
        """
        place = await finding.locate(compute_id, self._settings, ctx, "start")
        await lifecycle.bring(place, lifecycle.START, ctx)

    async def list_gpu_types(self, _ctx: Context, /) -> list[GpuType]:
        """Nothing: Fly.io ended its GPU machines on 2026-08-01. No request is sent."""
        return []

    def stream_logs(
        self, compute_id: str, ctx: Context, /, *, tail: int | None, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """Yield log lines, oldest first: the last `tail` (None: 100, which is the most), then new ones while `follow`.

        Only the last 24 hours are looked back on. New lines are asked for every two seconds.
        """
        return logs.stream(compute_id, self._settings, ctx, tail=tail, follow=follow)

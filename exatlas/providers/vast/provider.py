"""The Vast provider: each operation translates, sends, and reads; the steps live beside their nouns."""

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from exatlas.capabilities import Capability
from exatlas.protocols import Context, ProviderSettings, UrlSetting
from exatlas.providers.vast import catalog, events, instances, logs
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.gpu import GpuType
from exatlas.records.job import LogLine, StreamEvent


class VastProvider:
    """Vast.ai, a market of other people's machines. Holds no state: everything comes with each call.

    Calls keep to Vast's limits, which are low: a read of one machine every 2 s, a create every 4.5 s, ten searches in a
    minute, for everybody in the process who uses the same key.
    """

    name: ClassVar[str] = "vast"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.SPOT,
            Capability.NETWORK_VOLUMES,
            Capability.RAW_TCP,
            Capability.SYMMETRIC_PORTS,
            Capability.STOP_START,
            Capability.GPU_CATALOG,
            Capability.LOGS,
            Capability.ENDPOINT_EVENTS,
        }
    )
    settings: ClassVar[ProviderSettings] = ProviderSettings(
        key_env=("VAST_API_KEY",),
        urls={
            "rest": UrlSetting(default="https://console.vast.ai", env="VAST_URL"),
            "openai": UrlSetting(default="https://openai.vast.ai"),
        },
    )

    async def spawn_compute(self, request: ComputeRequest, ctx: Context, /) -> Compute:
        """Search the market once and take the best offer, or the next where somebody was faster; up to eight.

        Offers are ranked by model, then region, then kind of cloud as the request prefers them, then by the price with
        the disk. A `network_volume_id` binds the machine to the one host that its volume lies on. `spot=True` bids a
        tenth above the floor, or `provider_opts["price"]` USD per hour for the whole machine. `provider_opts["search"]`
        is laid over the search; everything else over the create. A new machine is told from its offer, because Vast
        answers a create with nothing but an id.

        Raises:
            ValidationError, UnsupportedError: Vast cannot rent this; nothing was sent.
            NotFoundError: the account has no such volume; nothing was rented.
            NoCapacityError: no offer fits, or all that were tried are gone; the message lists them.
            QuotaError: the day's searches are used up; midnight UTC brings new ones.
            OutcomeUnknownError: something may have been rented and was not found, or could not be given back.
        """
        return await instances.spawn(request, ctx)

    async def get_compute(self, compute_id: str, ctx: Context, /) -> Compute:
        """Read one machine. One that is gone is not found, after 8 s: a new one may be hidden as long."""
        return await instances.get(compute_id, ctx)

    async def list_compute(self, filters: ComputeFilter, ctx: Context, /) -> list[Compute]:
        """Read all machines that pass the filter, oldest first, 25 to a request."""
        return await instances.list_all(filters, ctx)

    async def terminate(self, compute_id: str, ctx: Context, /) -> None:
        """Destroy the machine and its disk; billing ends.

        Repeating it is not an error, but takes 8 s: Vast hides a new machine for a moment, so "no such instance" is
        believed only when it stays.
        """
        await instances.terminate(compute_id, ctx)

    async def stop(self, compute_id: str, ctx: Context, /) -> None:
        """Give the GPU away and keep the disk, which bills on. Nothing reserves the GPU: it may never come back."""
        await instances.stop(compute_id, ctx)

    async def start(self, compute_id: str, ctx: Context, /) -> None:
        """Ask for the GPU again and wait up to half a minute for it. Ports change, and so may the address.

        Cancelling leaves the wish in place: the machine may start later, and then bills.

        Raises:
            NoCapacityError: somebody else has the GPU, or bids more. The machine is stopped again.
            InsufficientFundsError: the account has no credit.
        """
        await instances.start(compute_id, ctx)

    async def list_gpu_types(self, ctx: Context, /) -> list[GpuType]:
        """Models with an offer now, the cheapest price of each, and how many offers there are. Two searches.

        Searches count towards a daily quota: keep the result for a minute at least.
        """
        return await catalog.list_gpu_types(ctx)

    def stream_events(
        self, endpoint: str, path: str, body: Any, ctx: Context, /, *, done: str | None, idle_s: float
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield events of `v1/chat/completions` or `v1/completions` of the endpoint with that name."""
        return events.stream(endpoint, path, body, ctx, done=done, idle_s=idle_s)

    def stream_logs(
        self, compute_id: str, ctx: Context, /, *, tail: int | None, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """Yield log lines, oldest first: the last `tail` (None: 100), then new ones while `follow`, some seconds late.

        Each look has the lines uploaded and read from there: two requests or more every 5 s.
        """
        return logs.stream(compute_id, ctx, tail=tail, follow=follow)

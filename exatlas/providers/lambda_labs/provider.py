"""The Lambda provider: each operation translates, sends, and reads; the steps live beside their nouns."""

from typing import ClassVar

from exatlas.capabilities import Capability
from exatlas.protocols import Context, ProviderSettings, UrlSetting
from exatlas.providers.lambda_labs import machines, spawning
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.gpu import GpuType


class LambdaProvider:
    """Lambda's On-Demand Cloud: virtual machines that run a container image. Holds no state.

    All calls of one key share Lambda's limit of one request a second and one launch in 12 s.
    """

    name: ClassVar[str] = "lambda_labs"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.NETWORK_VOLUMES,
            Capability.RAW_TCP,
            Capability.SYMMETRIC_PORTS,
            Capability.GPU_CATALOG,
            Capability.CPU_ONLY,
        }
    )
    settings: ClassVar[ProviderSettings] = ProviderSettings(
        key_env=("LAMBDA_API_KEY", "LAMBDA_LABS_API_KEY"),
        urls={"api": UrlSetting(default="https://cloud.lambda.ai/api/v1", env="LAMBDA_CLOUD_BASE_URL")},
    )

    async def spawn_compute(self, request: ComputeRequest, ctx: Context, /) -> Compute:
        """Rent one machine, trying types and regions in order for as long as Lambda has none of the last.

        Takes four to six requests, at one a second, and 12 s more for every candidate that is refused. The machine
        boots for two to twenty-five minutes; `running` then says that it is up, and its image may still be pulled.

        `ssh_keys` takes the name of a key of the account, or one public key, which is registered and stays; without it
        the account must have exactly one key. Ports are opened by a firewall ruleset of the machine's own. `22/tcp`
        is the machine's sshd (user `ubuntu`), not the container's.

        Raises:
            ValidationError, UnsupportedError, ConfigError: Lambda cannot rent this; nothing was rented.
            NoCapacityError: nothing that fits is free; the message says where there is some, or what was tried.
            OutcomeUnknownError: something may have been rented and was not found.
        """
        return await spawning.spawn(request, ctx)

    async def get_compute(self, compute_id: str, ctx: Context, /) -> Compute:
        """Read one machine. A terminated one soon raises NotFoundError (after 2 s and three requests).

        All who read machines of the account at one moment share one request, so many are read as fast as one.

        Ports, image and creation time come from its tags, which may be missing while it boots.
        """
        return await machines.get(compute_id, ctx)

    async def list_compute(self, filters: ComputeFilter, ctx: Context, /) -> list[Compute]:
        """Read all machines that pass the filter, in one request: the cheapest way to watch several."""
        return await machines.list_all(filters, ctx)

    async def terminate(self, compute_id: str, ctx: Context, /) -> None:
        """Destroy the machine, its disk and its firewall ruleset; filesystems survive.

        Repeating it is not an error. Waits up to half a minute for the machine to let go of its ruleset; what takes
        longer is swept by a later spawn or termination. Cancelling does not cut that clean-up short.

        Raises:
            ConflictError: the machine refused to end for more than a minute; it bills.
        """
        await machines.terminate(compute_id, ctx)

    async def list_gpu_types(self, ctx: Context, /) -> list[GpuType]:
        """Models, prices and where they are free: one record per GPU, with the lowest price per GPU. One request."""
        return await machines.list_gpu_types(ctx)

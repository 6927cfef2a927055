"""Refuse what a provider cannot do, before anything is sent and before any key is asked for."""

from exatlas.capabilities import OPERATION_NEEDS, Capability
from exatlas.errors import UnsupportedError
from exatlas.protocols import Provider
from exatlas.providers import builtins
from exatlas.records.compute import ComputeRequest
from exatlas.records.job import JobRequest


def check_operation(provider: Provider, operation: str) -> None:
    """Raise UnsupportedError where the provider lacks what the operation needs."""
    need = OPERATION_NEEDS.get(operation)
    if need is not None:
        _need(provider, operation, need, "it")


def check_compute(provider: Provider, request: ComputeRequest) -> None:
    """Raise UnsupportedError for the first field of the request that needs what the provider lacks."""
    if request.idle_ttl is not None:
        raise UnsupportedError(
            "idle_ttl needs a tracked session, and spawn_compute makes untracked machines; leave it out, "
            "and end the machine with terminate or rent",
            provider=provider.name,
            operation="spawn_compute",
        )
    protocols = {spec.protocol for spec in request.ports}
    needs = {
        "spot=True": (request.spot, Capability.SPOT),
        "gpu=None": (request.gpu is None, Capability.CPU_ONLY),
        "network_volume_id": (request.network_volume_id is not None, Capability.NETWORK_VOLUMES),
        "an http port": ("http" in protocols, Capability.HTTP_PROXY),
        "a tcp port": ("tcp" in protocols, Capability.RAW_TCP),
    }
    for what, (wanted, need) in needs.items():
        if wanted:
            _need(provider, "spawn_compute", need, what)


def check_job(provider: Provider, request: JobRequest) -> None:
    """Raise UnsupportedError for a field of the request that needs what the provider lacks."""
    if request.webhook is not None:
        _need(provider, "run_job", Capability.WEBHOOKS, "webhook")


def _need(provider: Provider, operation: str, need: Capability, what: str) -> None:
    if need in provider.capabilities:
        return
    able = sorted(cls.name for cls in builtins() if need in cls.capabilities)
    others = f"; {', '.join(able)} can" if able else ""
    raise UnsupportedError(
        f"{what} needs the capability {need.value!r}, which {provider.name} does not have{others}",
        capability=need.value,
        provider=provider.name,
        operation=operation,
    )

"""Rent GPUs and run serverless jobs on several clouds through one asyncio contract.

Importing this costs next to nothing: every name loads the module it lives in when it is first used, and no HTTP client
and no provider loads before it is needed.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "exatlas.capabilities": ("Capability",),
    "exatlas.client.atlas": ("Atlas",),
    "exatlas.client.default": (
        "cancel_job",
        "default_client",
        "get_compute",
        "get_job",
        "list_compute",
        "list_gpu_types",
        "open_job_stream",
        "rent",
        "run_job",
        "spawn_compute",
        "start",
        "stop",
        "stream_events",
        "stream_job",
        "stream_logs",
        "terminate",
        "wait_until_ready",
    ),
    "exatlas.clock": (
        "ManualClock",
        "SystemClock",
    ),
    "exatlas.errors": (
        "AllFailedError",
        "AtlasError",
        "BudgetError",
        "CleanupError",
        "ConfigError",
        "ConflictError",
        "EdgeBlockedError",
        "ErrorKind",
        "ForbiddenError",
        "InsufficientFundsError",
        "InvalidRequestError",
        "JobCancelledError",
        "JobError",
        "JobFailedError",
        "JobTimedOutError",
        "LeaseLostError",
        "LedgerError",
        "NoCapacityError",
        "NotFoundError",
        "NotReadyError",
        "NotReadyReason",
        "OutcomeUnknownError",
        "ProviderBrokenError",
        "ProviderError",
        "QuotaError",
        "RateLimitedError",
        "ReplyShapeError",
        "StreamError",
        "StreamFailedError",
        "StreamGapError",
        "StreamTruncatedError",
        "TransportError",
        "TransportTimeoutError",
        "UnauthorizedError",
        "UnsupportedError",
        "ValidationError",
    ),
    "exatlas.fanout": (
        "Outcome",
        "fan_out",
        "first_ok",
    ),
    "exatlas.messages": (
        "AttemptEnd",
        "HookEvent",
        "HttpCall",
        "HttpReply",
        "RequestRecord",
        "SpawnEnd",
        "SpawnRecord",
        "StreamEnd",
        "StreamOpened",
        "StreamRecord",
    ),
    "exatlas.orchestrator.budget": ("Budget",),
    "exatlas.orchestrator.orchestrator": ("Orchestrator",),
    "exatlas.orchestrator.session": ("Session",),
    "exatlas.protocols": (
        "Clock",
        "Context",
        "Credential",
        "Hook",
        "Ledger",
        "Listener",
        "Provider",
        "ProviderSettings",
        "Transport",
        "UrlSetting",
    ),
    "exatlas.providers": ("list_providers",),
    "exatlas.records.compute": (
        "AuthHandle",
        "Compute",
        "ComputeFilter",
        "ComputeRequest",
        "ComputeStatus",
        "PortBinding",
        "PortSpec",
        "SshAccess",
    ),
    "exatlas.records.gpu": (
        "GpuType",
        "Stock",
    ),
    "exatlas.records.job": (
        "Job",
        "JobChunk",
        "JobFault",
        "JobPolicy",
        "JobRef",
        "JobRequest",
        "JobStatus",
        "LogLine",
        "StreamEvent",
    ),
    "exatlas.records.launch": (
        "Launch",
        "LaunchState",
        "RateSegment",
    ),
    "exatlas.records.recovery": (
        "Recovered",
        "Recovery",
        "RecoveryAction",
    ),
    "exatlas.records.serial": (
        "structure",
        "unstructure",
    ),
    "exatlas.streaming.job_stream": ("JobStream",),
}
"""Module -> the public names that live in it. The stub beside this file says the same to type checkers."""

_MODULES = {name: module for module, names in _HOMES.items() for name in names}
_SUBMODULES = ("providers",)

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        found: Any = import_module("importlib.metadata").version("exatlas")
    elif name in _MODULES:
        found = getattr(import_module(_MODULES[name]), name)
    elif name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES, "__version__"})

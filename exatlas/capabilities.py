"""What a provider can do, as a closed vocabulary."""

from enum import StrEnum
from types import MappingProxyType


class Capability(StrEnum):
    """One thing that not every cloud can do. A provider declares a frozenset of these on its class."""

    SPOT = "spot"
    """`spot=True` rents capacity that the cloud may take back, at a lower price."""
    SERVERLESS = "serverless"
    """`run_job`, `get_job`, `cancel_job` and `stream_job` work."""
    NETWORK_VOLUMES = "network_volumes"
    """`network_volume_id` attaches storage that outlives the machine."""
    HTTP_PROXY = "http_proxy"
    """An `http` port gets an HTTPS URL of its own; it is public unless the image checks a secret."""
    RAW_TCP = "raw_tcp"
    """A `tcp` port is reachable from outside at a public address."""
    SYMMETRIC_PORTS = "symmetric_ports"
    """A `tcp` port can be had whose inside and outside numbers are equal."""
    WEBHOOKS = "webhooks"
    """`JobRequest.webhook` is called by the cloud when the job ends."""
    GLOBAL_NETWORKING = "global_networking"
    """Machines of one account can reach each other by private name across regions."""
    STOP_START = "stop_start"
    """`stop` ends the compute bill and keeps the volume; `start` brings the machine back."""
    GPU_CATALOG = "gpu_catalog"
    """`list_gpu_types` gives models, prices and stock."""
    LOGS = "logs"
    """`stream_logs` reads the machine's output, past and following."""
    CPU_ONLY = "cpu_only"
    """`gpu=None` rents a machine without a GPU."""
    ENDPOINT_EVENTS = "endpoint_events"
    """`stream_events` reads what an endpoint's own HTTP routes send: OpenAI-compatible or load-balanced ones."""


OPERATION_NEEDS = MappingProxyType(
    {
        "stop": Capability.STOP_START,
        "start": Capability.STOP_START,
        "list_gpu_types": Capability.GPU_CATALOG,
        "run_job": Capability.SERVERLESS,
        "get_job": Capability.SERVERLESS,
        "cancel_job": Capability.SERVERLESS,
        "stream_job": Capability.SERVERLESS,
        "stream_events": Capability.ENDPOINT_EVENTS,
        "stream_logs": Capability.LOGS,
    }
)
"""Contract operation → the capability a provider must declare for it. Everybody has the operations not listed."""

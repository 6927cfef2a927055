"""A cloud in this process, for tests, examples and first steps. No network, no key, no bill."""

from exatlas.providers.memory.faults import Hold
from exatlas.providers.memory.gpus import Model
from exatlas.providers.memory.jobs import WebhookDelivery
from exatlas.providers.memory.machines import Charge
from exatlas.providers.memory.provider import MemoryProvider

PROVIDER = MemoryProvider
ALIASES = ("mock",)

__all__ = ["ALIASES", "PROVIDER", "Charge", "Hold", "MemoryProvider", "Model", "WebhookDelivery"]

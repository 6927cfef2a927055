"""A RunPod-compatible serverless endpoint on this machine: see :func:`serve`.

The names load when they are first used: a worker process needs none of the server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exatlas.local.runtime import Runtime, serve
    from exatlas.providers.runpod.submission import Rules

__all__ = ["Rules", "Runtime", "serve"]

_HOMES = {
    "Rules": "exatlas.providers.runpod.submission",
    "Runtime": "exatlas.local.runtime",
    "serve": "exatlas.local.runtime",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""How strictly REST v2 reads a request body: every unknown or missing field is named, and so are wrong types."""

from collections.abc import Mapping
from typing import Any

STR, INT, NUM, BOOL = "a string", "an integer", "a number", "a boolean"
TEXTS, STRING_MAP, OBJECTS = "a list of strings", "a map of strings", "a list of objects"

_CHECKS: dict[str, Any] = {
    STR: lambda value: isinstance(value, str),
    INT: lambda value: isinstance(value, int) and not isinstance(value, bool),
    NUM: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    BOOL: lambda value: isinstance(value, bool),
    TEXTS: lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    STRING_MAP: lambda value: isinstance(value, dict) and all(isinstance(item, str) for item in value.values()),
    OBJECTS: lambda value: isinstance(value, list) and all(isinstance(item, dict) for item in value),
}

Shape = Mapping[str, Any]
"""Field → what it is: one of the words above, or the shape of a nested object."""

CONTAINER: Shape = {"args": STR, "disk": INT, "env": STRING_MAP, "image": STR, "ports": TEXTS, "registry": STR}
CUDA: Shape = {"allowedCudaVersions": TEXTS, "minCudaVersion": STR}
MOUNTS: Shape = {"persistent": {"size": INT, "path": STR}, "network": OBJECTS}

POD: Shape = {
    **CONTAINER,
    "name": STR,
    "cloud": STR,
    "cpu": {"id": STR, "vcpuCount": INT},
    "gpu": {"id": STR, "count": INT, **CUDA},
    "dataCenterIds": TEXTS,
    "globalNetworking": BOOL,
    "mounts": MOUNTS,
    "startJupyter": BOOL,
    "startSsh": BOOL,
    "templateId": STR,
}
VOLUME: Shape = {"name": STR, "size": INT, "dataCenter": STR, "type": STR}
TEMPLATE: Shape = {
    **CONTAINER,
    "name": STR,
    "allowedCudaVersions": TEXTS,
    "category": STR,
    "mounts": MOUNTS,
    "public": BOOL,
    "serverless": BOOL,
    "startJupyter": BOOL,
    "startSsh": BOOL,
}
ENDPOINT: Shape = {
    **CONTAINER,
    "name": STR,
    "type": STR,
    "scaling": {"type": STR, "queueDelay": NUM, "requestCount": INT},
    "gpu": {"pools": TEXTS, "excludedTypes": TEXTS, "count": INT, **CUDA},
    "cpu": OBJECTS,
    "workers": {"min": INT, "max": INT, "idleTimeout": INT},
    "timeout": INT,
    "flashboot": STR,
    "networkVolumes": TEXTS,
    "dataCenterIds": TEXTS,
    "templateId": STR,
}
ACTION: Shape = {"action": STR}


def faults(body: Any, shape: Shape, required: tuple[str, ...] = (), path: str = "$") -> list[str]:
    """Everything that is wrong with a body, in the validator's words."""
    if not isinstance(body, dict):
        return [f"{path}: expected an object"]
    found = [f"{path}: missing property '{name}'" for name in required if name not in body]
    found += [f"{path}: additional properties '{name}' not allowed" for name in body if name not in shape]
    for name, value in body.items():
        wanted = shape.get(name)
        if isinstance(wanted, Mapping):
            found += faults(value, wanted, path=f"{path}.{name}")
        elif wanted is not None and not _CHECKS[wanted](value):
            found.append(f"{path}.{name}: expected {wanted}")
    return found

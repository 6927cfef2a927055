"""What `provider_opts` may say to exatlas rather than to Lambda, under the key `container`.

Everything else in `provider_opts` is merged into Lambda's launch body.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

KEY = "container"
MOUNT_PATH = "/workspace"

_PATH = re.compile(r"/[A-Za-z0-9._/-]*", re.ASCII)


@frozen(kw_only=True)
class ContainerOptions:
    """How the container runs, beyond what a request can say."""

    create: Mapping[str, Any] = field(factory=dict)
    """Merged into the body of Docker's own "create a container" call, last: `{"HostConfig": {"Privileged": true}}`."""
    mount_path: str = MOUNT_PATH
    """Where `volume_gb` or `network_volume_id` appears inside."""
    registry_auth: Mapping[str, str] | None = field(default=None, repr=False)
    """`username`, `password` and, for other registries than Docker's, `serveraddress`."""
    source_network: str = "0.0.0.0/0"
    """Who may reach the ports, as an IPv4 network; SSH stays open to all."""


FIELDS = ("create", "mount_path", "registry_auth", "source_network")


def faults(opts: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with `provider_opts["container"]`. Values that may be secret are not shown."""
    given = opts.get(KEY, {})
    if not isinstance(given, Mapping):
        return [f"expected an object, got {type(given).__name__}"]
    found = [f"nothing is named {name!r}; there are {', '.join(FIELDS)}" for name in given if name not in FIELDS]
    checks = {
        "create": lambda value: isinstance(value, Mapping),
        "mount_path": lambda value: isinstance(value, str) and len(value) > 1 and _PATH.fullmatch(value),
        "registry_auth": _is_auth,
        "source_network": _is_network,
    }
    wants = {
        "create": "an object",
        "mount_path": "an absolute path",
        "registry_auth": "an object with 'username' and 'password', and 'serveraddress' at most",
        "source_network": "an IPv4 network such as 203.0.113.0/24",
    }
    found += [f"{name}: expected {wants[name]}" for name in FIELDS if name in given and not checks[name](given[name])]
    return found


def read(opts: Mapping[str, Any]) -> ContainerOptions:
    """The options of a request that has no faults."""
    return ContainerOptions(**opts.get(KEY, {}))


def native(opts: Mapping[str, Any]) -> dict[str, Any]:
    """The rest, for Lambda."""
    return {name: value for name, value in opts.items() if name != KEY}


def _is_auth(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and {"username", "password"} <= set(value) <= {"username", "password", "serveraddress"}
        and all(isinstance(item, str) for item in value.values())
    )


def _is_network(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ipaddress.IPv4Network(value))
    except ValueError:
        return False

"""How machines, apps and volumes of ours are named, and what a compute id says.

A machine lives in an app, and every call names both. So the id of a compute is `app/machine`. A bare machine id, which
Fly's own tools show, is understood too, at the price of looking its app up.
"""

import re

from attrs import frozen

MANAGED = "exatlas_managed"
LAUNCH = "exatlas_launch_id"
OWNER = "exatlas_owner"
PORTS = "exatlas_ports"
VOLUME = "exatlas_volume_id"
IPV4, IPV6, SHARED_IPV4 = "exatlas_ipv4", "exatlas_ipv6", "exatlas_shared_ipv4"
"""Keys in the metadata of machines of ours. Those that begin with `fly_` are Fly's own."""
KEY_PREFIX = "exatlas_"

_OWN = re.compile(r"exatlas-([0-9a-f]{12})")


@frozen
class Place:
    """Where a machine is."""

    app: str
    machine: str

    def __str__(self) -> str:
        return f"{self.app}/{self.machine}"


def split(compute_id: str) -> tuple[str | None, str]:
    """The app (None in a bare machine id) and the machine."""
    app, slash, machine = compute_id.partition("/")
    return (app, machine) if slash else (None, app)


def own_app(launch_id: str) -> str:
    """The app that is made for one machine: the mark in its name makes a repeated create harmless."""
    return f"exatlas-{launch_id}"


def launch_of_app(app: str) -> str | None:
    """The launch an app was made for; None for apps that are not ours."""
    found = _OWN.fullmatch(app)
    return found[1] if found else None


def volume_name(launch_id: str) -> str:
    """The name of volumes made for one machine: letters, digits and underscores only."""
    return f"exatlas_{launch_id}"

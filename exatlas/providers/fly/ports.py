"""Ports: how they are asked for as services of Fly's proxy, and what surely reaches one machine.

Fly's proxy stands in front of an app, not of a machine: whoever calls `https://<app>.fly.dev` reaches any machine of
the app that serves the port. So only the single machine of an app of its own has a URL. The IPv4 address that apps
share carries HTTP and TLS only; raw TCP goes through the app's IPv6 address or a dedicated IPv4 address, UDP through
the latter alone.

Source: https://fly.io/docs/networking/services/ and https://fly.io/docs/networking/dynamic-request-routing/, read
2026-11-23.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from exatlas.providers.fly import ids
from exatlas.records.compute import Compute, PortBinding, PortSpec
from exatlas.transport.shape import Fields

HTTPS, HTTP = 443, 80
INSTANCE_HEADER = "fly-force-instance-id"


@frozen
class Exposed:
    """One port of a machine, as Fly's proxy serves it."""

    internal: int
    external: int
    kind: str
    """`https`, `http`, `tls`, `tcp` or `udp`: what a client speaks to the outside."""

    def __str__(self) -> str:
        return f"{self.internal}:{self.external}:{self.kind}"


@frozen(kw_only=True)
class Addresses:
    """The public addresses of an app."""

    ipv4: str | None = None
    """A dedicated one."""
    ipv6: str | None = None
    shared_ipv4: str | None = None

    @property
    def any(self) -> str | None:
        """The address to show for a machine."""
        return self.ipv4 or self.ipv6 or self.shared_ipv4


def external_of(ports: Sequence[PortSpec]) -> list[Exposed]:
    """What to ask for: the first `http` port at 443 (and 80, which redirects), every other port at its own number."""
    exposed = []
    first = True
    for spec in ports:
        if spec.protocol == "http":
            exposed.append(Exposed(spec.port, HTTPS if first else spec.port, "https"))
            first = False
        else:
            exposed.append(Exposed(spec.port, spec.port, spec.protocol))
    return exposed


def services(ports: Sequence[PortSpec]) -> list[dict[str, Any]]:
    """The services of a machine that never stops or starts by itself, whatever requests come or do not come."""
    return [_service(port) for port in external_of(ports)]


def _service(port: Exposed) -> dict[str, Any]:
    handlers = ["tls", "http"] if port.kind == "https" else []
    listening: list[dict[str, Any]] = [{"port": port.external, "handlers": handlers}]
    if port.kind == "https" and port.external == HTTPS:
        listening.append({"port": HTTP, "handlers": ["http"], "force_https": True})
    return {
        "protocol": "udp" if port.kind == "udp" else "tcp",
        "internal_port": port.internal,
        "ports": listening,
        "autostop": "off",
        "autostart": False,
    }


def exposed_by(services: Iterable[Fields]) -> list[Exposed]:
    """What the services of a machine expose, the best way into each of them first and alone."""
    found = []
    for service in services:
        internal = service.whole("internal_port")
        ways = [way for port in service.objects("ports") if (way := _way(port, service.text("protocol")))]
        if internal is not None and ways:
            found.append(Exposed(internal, *min(ways, key=lambda way: _PREFERENCE.index(way[1]))))
    return found


_PREFERENCE = ("https", "http", "tls", "tcp", "udp")


def _way(port: Fields, protocol: str | None) -> tuple[int, str] | None:
    number = port.whole("port")
    number = port.whole("start_port") if number is None else number
    if number is None:
        return None
    handlers = port.texts("handlers")
    if protocol == "udp":
        return number, "udp"
    if "http" in handlers:
        return number, "https" if "tls" in handlers else "http"
    return number, "tls" if handlers else "tcp"


def written(exposed: Iterable[Exposed]) -> str:
    """As it is kept in a machine's metadata, for lists that show no services."""
    return " ".join(str(port) for port in exposed)


def read(text: str) -> list[Exposed]:
    """What :func:`written` wrote; what it did not is passed over."""
    found = []
    for word in text.split():
        internal, _, rest = word.partition(":")
        external, _, kind = rest.partition(":")
        if internal.isdecimal() and external.isdecimal() and kind in _PREFERENCE:
            found.append(Exposed(int(internal), int(external), kind))
    return found


def binding(port: Exposed, app: str, addresses: Addresses) -> PortBinding:
    """How to reach a port of an app's only machine; no address, no URL."""
    protocol = "http" if port.kind in ("https", "http") else "udp" if port.kind == "udp" else "tcp"
    if addresses.any is None:
        return PortBinding(internal=port.internal, protocol=protocol)
    if protocol == "http":
        return PortBinding(internal=port.internal, protocol=protocol, url=web_url(port, app))
    url = _raw_url(port, app, addresses)
    return PortBinding(internal=port.internal, external=port.external if url else None, protocol=protocol, url=url)


def web_url(port: Exposed, app: str) -> str:
    """The app's address for a port that speaks HTTP."""
    usual = HTTPS if port.kind == "https" else HTTP
    return f"{port.kind}://{app}.fly.dev" + ("" if port.external == usual else f":{port.external}")


def _raw_url(port: Exposed, app: str, addresses: Addresses) -> str | None:
    if port.kind == "tls":
        return f"tls://{app}.fly.dev:{port.external}"
    if addresses.ipv4:
        return f"{port.kind}://{addresses.ipv4}:{port.external}"
    if port.kind == "tcp" and addresses.ipv6:
        return f"tcp://[{addresses.ipv6}]:{port.external}"
    return None


def unsure(port: Exposed) -> PortBinding:
    """A port of one machine among others: the proxy may choose any of them."""
    protocol = "http" if port.kind in ("https", "http") else "udp" if port.kind == "udp" else "tcp"
    return PortBinding(internal=port.internal, protocol=protocol)


def route(compute: Compute) -> tuple[str, Mapping[str, str]] | None:
    """How to reach one machine of an app with several: the app's URL, and the header that a request must carry.

    None for a machine without an `http` port. The app needs a public address. Fly's proxy fails a request whose machine
    is not there, and never sends it to another.
    """
    app, machine = ids.split(compute.id)
    metadata = (compute.raw.get("config") or {}).get("metadata") or {}
    first = next((port for port in read(metadata.get(ids.PORTS, "")) if port.kind in ("https", "http")), None)
    return (web_url(first, app), {INSTANCE_HEADER: machine}) if first and app else None

"""What a running machine lacks to be reached from here, in words; None for nothing."""

from collections.abc import Iterator

from exatlas.protocols import Transport
from exatlas.records.compute import Compute, PortBinding
from exatlas.transport.reaching import address_of, http_fault, tcp_fault

PROBE_S = 10.0
"""How long one try may take."""


def unmapped(compute: Compute, asked: Compute | None) -> str | None:
    """Ports that the cloud has not mapped yet, of those it knows and those it was asked for."""
    missing = [f"{port.internal}/{port.protocol}" for port in compute.ports if not (port.url or port.external)]
    if missing:
        return f"its ports {', '.join(missing)} are not mapped"
    count = len(asked.ports) if asked else 0
    return f"{count} ports were asked for, and it has {len(compute.ports)}" if count > len(compute.ports) else None


async def tcp(compute: Compute, port: int | None) -> str | None:
    """Try the port inside, or else the first tcp port, ssh, or the first port of any kind."""
    address = next(_addresses(compute, port), None)
    if address is None:
        return f"its port {port} is not mapped" if port else "no port of it is mapped"
    fault = await tcp_fault(*address, PROBE_S)
    return f"port {address[1]} gives {fault}" if fault else None


async def http(compute: Compute, port: int | None, path: str, transport: Transport) -> str | None:
    """Ask the port inside, or else the first http port."""
    wanted = [one for one in compute.ports if (one.protocol == "http" if port is None else one.internal == port)]
    found = next(((one.internal, url) for one in wanted if (url := _url(compute, one))), None)
    if found is None:
        return f"its port {port} is not mapped" if port else "no http port of it is mapped"
    fault = await http_fault(transport, found[1].rstrip("/") + path, PROBE_S, compute.provider)
    return f"port {found[0]} gives {fault}" if fault else None


def _addresses(compute: Compute, port: int | None) -> Iterator[tuple[str, int]]:
    if port is not None:
        yield from _of(compute, [one for one in compute.ports if one.internal == port])
        return
    yield from _of(compute, [one for one in compute.ports if one.protocol == "tcp"])
    if compute.ssh is not None:
        yield compute.ssh.host, compute.ssh.port
    yield from _of(compute, [one for one in compute.ports if one.protocol == "http"])


def _of(compute: Compute, ports: list[PortBinding]) -> Iterator[tuple[str, int]]:
    for one in ports:
        if one.url and (address := address_of(one.url)):
            yield address
        elif one.external and compute.public_ip:
            yield compute.public_ip, one.external


def _url(compute: Compute, port: PortBinding) -> str | None:
    """Where HTTP is spoken to a port; one that is mapped as plain tcp may speak it too."""
    if port.url and port.url.startswith(("https://", "http://")):
        return port.url
    address = next(_of(compute, [port]), None)
    if address is None:
        return None
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}"

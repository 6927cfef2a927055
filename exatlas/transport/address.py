"""What may be known and said of a URL without a look-up: where it points, and whether that is this machine."""

from ipaddress import ip_address


def origin_of(url: str) -> str:
    """The part of an absolute URL in front of path, query and fragment, such as `https://api.runpod.io`."""
    end = url.find("/", url.find("://") + 3)
    origin = url if end < 0 else url[:end]
    return origin.partition("?")[0].partition("#")[0]


def host_of(url: str) -> str:
    """Host and port of an absolute URL, safe to show: without user and password, path and query."""
    return origin_of(url).partition("://")[2].rpartition("@")[2]


def scheme_of(url: str) -> str:
    """The scheme of an absolute URL."""
    return url.partition("://")[0]


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine by name or address."""
    name = host.removeprefix("[").partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False

"""What Vast cannot take, said before anything is sent, and all of it at once.

A fault is a value that Vast refuses; a lack is a field that Vast has no way to honour. One fault makes the whole
request invalid; lacks alone make it unsupported here, so that another provider may be tried.

Source: limits of `create_instance`; vast-ai/docs `guides/instances/connect/networking`; read 2026-11-23.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from exatlas.errors import UnsupportedError, ValidationError
from exatlas.providers.vast import gpus, labels, regions
from exatlas.providers.vast.normalize import SYMMETRIC_FROM
from exatlas.providers.vast.translate import SEARCH_OPTS
from exatlas.records.compute import ComputeRequest

MOST_PORTS = 64
LONGEST_ENV_NAME = 256
LARGEST_ENV = 32768
LARGEST_ARGS = 4096
SMALLEST_PRICE, LARGEST_PRICE = 0.001, 128.0
MOST_TAIL_LINES = 10_000

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LAUNCH_ID = "0" * 12

Check = Callable[[ComputeRequest], str | None]


def check_spawn(request: ComputeRequest, provider: str) -> None:
    """Refuse a machine Vast cannot rent.

    Raises:
        ValidationError: a field has a value Vast refuses; lacks are listed along with the faults.
        UnsupportedError: Vast has no way to honour a field.
    """
    faults = [fault for check in _FAULTS if (fault := check(request))]
    lacks = [(lack, capability) for check, capability in _LACKS if (lack := check(request))]
    facts = {"provider": provider, "operation": "spawn_compute"}
    if faults:
        raise ValidationError("ComputeRequest", [*faults, *(lack for lack, _ in lacks)], **facts)
    if lacks:
        capability = lacks[0][1] if len(lacks) == 1 else None
        raise UnsupportedError("; ".join(lack for lack, _ in lacks), capability=capability, **facts)


def _env_names(request: ComputeRequest) -> str | None:
    wrong = [name for name in request.env if not _ENV_NAME.fullmatch(name) or len(name) > LONGEST_ENV_NAME]
    if not wrong:
        return None
    return f"env: expected names of letters, digits and underscores, got {wrong[0]!r:.40}; others turn into options"


def _env_size(request: ComputeRequest) -> str | None:
    size = sum(len(name) + len(value) for name, value in request.env.items())
    return f"env: expected at most {LARGEST_ENV} characters in all, got {size}" if size > LARGEST_ENV else None


def _args_size(request: ComputeRequest) -> str | None:
    size = sum(len(word) for word in request.command)
    if size <= LARGEST_ARGS:
        return None
    return f"command: expected at most {LARGEST_ARGS} characters in all, got {size}; fetch a script instead"


def _ports(request: ComputeRequest) -> str | None:
    if len(request.ports) > MOST_PORTS:
        return f"ports: expected at most {MOST_PORTS}, got {len(request.ports)}"
    odd = [spec.port for spec in request.ports if 65535 < spec.port < SYMMETRIC_FROM]
    if odd:
        return f"ports: expected up to 65535, or {SYMMETRIC_FROM} and more for equal numbers, got {odd[0]}"
    return None


def _label(request: ComputeRequest) -> str | None:
    room = labels.LONGEST - len(labels.write("n", _LAUNCH_ID, "0" * 16)) + 1
    if len(request.name or "") <= room:
        return None
    return f"name: expected at most {room} characters, got {len(request.name or '')}"


def _regions(request: ComputeRequest) -> str | None:
    unknown = [hint for hint in request.region_hints if regions.countries(hint) is None]
    if not unknown:
        return None
    close = regions.nearest(unknown[0])
    hint = f" (did you mean {close!r}?)" if close else ""
    return f"region_hints: expected country codes such as 'DE', or {', '.join(regions.MACRO)}; got {unknown[0]!r}{hint}"


def _search_opts(request: ComputeRequest) -> str | None:
    search = request.provider_opts.get(SEARCH_OPTS)
    if search is None or isinstance(search, Mapping):
        return None
    return f"provider_opts: expected '{SEARCH_OPTS}' to be a mapping of columns, got {type(search).__name__}"


def _label_in_opts(request: ComputeRequest) -> str | None:
    if "label" in request.provider_opts:
        return "provider_opts: expected no 'label', which carries the launch id; set the request's own name"
    return None


def _price(request: ComputeRequest) -> str | None:
    price = request.provider_opts.get("price")
    if price is None:
        return None
    if not request.spot:
        return "provider_opts: 'price' is a bid and needs spot=True; to bound the price use search={'dph_total': …}"
    number = isinstance(price, int | float) and not isinstance(price, bool)
    if number and SMALLEST_PRICE <= price <= LARGEST_PRICE:
        return None
    span = f"{SMALLEST_PRICE} to {LARGEST_PRICE:g}"
    return f"provider_opts: expected a 'price' from {span} USD per hour, got {price!r:.40}"


def _volume_id(request: ComputeRequest) -> str | None:
    volume_id = request.network_volume_id
    if volume_id is None or (volume_id.isascii() and volume_id.isdecimal()):
        return None
    return f"network_volume_id: expected the number of a local volume, got {volume_id!r:.40}"


def _cpu_only(request: ComputeRequest) -> str | None:
    return "gpu: Vast rents no machines without one" if request.gpu is None else None


def _http(request: ComputeRequest) -> str | None:
    http = [spec.port for spec in request.ports if spec.protocol == "http"]
    return f"ports: Vast puts no HTTPS in front of a port; ask for {http[0]}/tcp instead" if http else None


def _ssh_keys(request: ComputeRequest) -> str | None:
    if not request.ssh_keys:
        return None
    return (
        "ssh_keys: Vast installs the account's own keys, and only with provider_opts={'runtype': 'ssh_direct'}, which "
        "replaces the image's entrypoint"
    )


def _v100(request: ComputeRequest) -> str | None:
    untold = [name for name in request.gpu or () if gpus.is_untold(name)]
    if not untold:
        return None
    return f"gpu: Vast does not tell the form of a V100, so {untold[0]!r} cannot be asked for; 'v100' can"


_FAULTS: Sequence[Check] = (
    _env_names,
    _env_size,
    _args_size,
    _ports,
    _label,
    _regions,
    _search_opts,
    _label_in_opts,
    _price,
    _volume_id,
)
_LACKS: Sequence[tuple[Check, str | None]] = (
    (_cpu_only, "cpu_only"),
    (_http, "http_proxy"),
    (_ssh_keys, None),
    (_v100, None),
)


def check_tail(tail: object, provider: str) -> None:
    """Refuse a number of log lines beyond what is asked for at once."""
    if tail is None or (isinstance(tail, int) and not isinstance(tail, bool) and 0 <= tail <= MOST_TAIL_LINES):
        return
    fault = f"tail: expected a whole number from 0 to {MOST_TAIL_LINES} or None, got {tail!r:.40}"
    raise ValidationError("stream_logs", [fault], provider=provider, operation="stream_logs")

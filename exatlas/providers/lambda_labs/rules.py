"""What Lambda cannot take, said before anything is sent, and all of it at once.

A fault is a value that Lambda refuses; a lack is a field that Lambda has no way to honour. One fault makes the whole
request invalid; lacks alone make it unsupported here, so that another provider may be tried.
"""

import re
from collections.abc import Callable, Sequence

from exatlas.errors import UnsupportedError, ValidationError
from exatlas.providers.lambda_labs import options, tags
from exatlas.providers.lambda_labs.userdata import SSH_PORT
from exatlas.records.compute import ComputeRequest

LONGEST_NAME = 64
LONGEST_OWN_NAME = LONGEST_NAME - len("-0123456789ab")
LARGEST_PORT = 65535
MOST_RULES = 20
"""Stated for the account's global rules; for rulesets nothing is said, so it is taken for both."""
LONGEST_IMAGE = 255
LONGEST_PUBLIC_KEY = 4096

KEY_PREFIXES = ("ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-")

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", re.ASCII)
_TAG_KEY = re.compile(r"[a-z][a-z0-9:-]+", re.ASCII)
LONGEST_TAG_KEY = 55

OURS = {
    "name": "carries the launch id; set the request's own name",
    "user_data": "starts the container",
    "region_name": "is chosen from region_hints",
    "instance_type_name": "is chosen from gpu, which takes the names of instance types too",
}
"""Fields of the launch body that provider_opts must leave alone, and why."""

Check = Callable[[ComputeRequest], str | None]


def check_spawn(request: ComputeRequest, provider: str) -> None:
    """Refuse a machine Lambda cannot rent.

    Raises:
        ValidationError: a field has a value Lambda refuses; lacks are listed along with the faults.
        UnsupportedError: Lambda has no way to honour a field.
    """
    faults = [fault for check in _FAULTS if (fault := check(request))]
    lacks = [lack for check in _LACKS if (lack := check(request))]
    facts = {"provider": provider, "operation": "spawn_compute"}
    if faults:
        raise ValidationError("ComputeRequest", [*faults, *lacks], **facts)
    if lacks:
        capability = "spot" if request.spot and len(lacks) == 1 else None
        raise UnsupportedError("; ".join(lacks), capability=capability, **facts)


def is_public_key(text: str) -> bool:
    """Whether an entry of `ssh_keys` is a key rather than a name."""
    return text.startswith(KEY_PREFIXES) and " " in text.strip()


def _name(request: ComputeRequest) -> str | None:
    length = len(request.name or "")
    if length <= LONGEST_OWN_NAME:
        return None
    return f"name: expected at most {LONGEST_OWN_NAME} characters, because a launch id follows, got {length}"


def _image(request: ComputeRequest) -> str | None:
    image = request.image
    if image is None or (_IMAGE.fullmatch(image) and len(image) <= LONGEST_IMAGE):
        return None
    return f"image: expected an image reference of at most {LONGEST_IMAGE} characters"


def _env_names(request: ComputeRequest) -> str | None:
    odd = [name for name in request.env if not _ENV_NAME.fullmatch(name)]
    return f"env: expected names of letters, digits and underscores, got {odd[0]!r:.60}" if odd else None


def _command(request: ComputeRequest) -> str | None:
    return "command: expected no null characters" if any("\0" in word for word in request.command) else None


def _port_numbers(request: ComputeRequest) -> str | None:
    high = [spec.port for spec in request.ports if spec.port > LARGEST_PORT]
    return f"ports: expected numbers up to {LARGEST_PORT}, got {high[0]}" if high else None


def _one_http_or_tcp(request: ComputeRequest) -> str | None:
    numbers = [spec.port for spec in request.ports if spec.protocol != "udp"]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    return f"ports: {twice[0]} is asked for both as http and as tcp, which is one port here" if twice else None


def _most_ports(request: ComputeRequest) -> str | None:
    count = len({(spec.port, spec.protocol == "udp") for spec in request.ports} - {(SSH_PORT, False)})
    most = MOST_RULES - 1
    return f"ports: expected at most {most} besides 22/tcp, got {count}" if count > most else None


def _ssh_keys(request: ComputeRequest) -> str | None:
    if len(request.ssh_keys) > 1:
        return f"ssh_keys: Lambda takes exactly one key per machine, got {len(request.ssh_keys)}"
    key = next(iter(request.ssh_keys), "")
    if is_public_key(key) and ("\n" in key.strip() or len(key) > LONGEST_PUBLIC_KEY):
        return f"ssh_keys: expected one line of at most {LONGEST_PUBLIC_KEY} characters"
    return None


def _two_key_sources(request: ComputeRequest) -> str | None:
    if request.ssh_keys and "ssh_key_names" in request.provider_opts:
        return "ssh_keys: expected none, because provider_opts has ssh_key_names"
    return None


def _two_volumes(request: ComputeRequest) -> str | None:
    if request.volume_gb is None or request.network_volume_id is None:
        return None
    return "volume_gb: expected None, because network_volume_id is set and takes the same place in the container"


def _reserved(request: ComputeRequest) -> str | None:
    taken = [f"{name!r} ({why})" for name, why in OURS.items() if name in request.provider_opts]
    return f"provider_opts: expected no {', '.join(taken)}" if taken else None


def _tags(request: ComputeRequest) -> str | None:
    given = request.provider_opts.get("tags", [])
    if isinstance(given, list | tuple) and all(_is_tag(tag) for tag in given):
        return None
    return (
        "provider_opts: expected tags as a list of {'key', 'value'}, with lower-case keys of at most "
        f"{LONGEST_TAG_KEY} characters that do not begin with {tags.PREFIX!r} or 'lambda-ai-', "
        f"and values of at most {tags.LONGEST_VALUE}"
    )


def _is_tag(tag: object) -> bool:
    if not isinstance(tag, dict) or set(tag) != {"key", "value"}:
        return False
    key, value = tag["key"], tag["value"]
    return (
        isinstance(key, str)
        and isinstance(value, str)
        and len(key) <= LONGEST_TAG_KEY
        and len(value) <= tags.LONGEST_VALUE
        and bool(_TAG_KEY.fullmatch(key))
        and not key.startswith((tags.PREFIX, "lambda-ai-"))
    )


def _options(request: ComputeRequest) -> str | None:
    found = options.faults(request.provider_opts)
    return f"provider_opts.{options.KEY}: {'; '.join(found)}" if found else None


def _template(request: ComputeRequest) -> str | None:
    return "template_id: Lambda has no templates" if request.template_id is not None else None


def _spot(request: ComputeRequest) -> str | None:
    return "spot: Lambda sells no spot machines" if request.spot else None


def _community(request: ComputeRequest) -> str | None:
    return "cloud_type: all machines are Lambda's own (secure)" if request.cloud_type == "community" else None


_FAULTS: Sequence[Check] = (
    _name,
    _image,
    _env_names,
    _command,
    _port_numbers,
    _one_http_or_tcp,
    _most_ports,
    _ssh_keys,
    _two_key_sources,
    _two_volumes,
    _reserved,
    _tags,
    _options,
)
_LACKS: Sequence[Check] = (_template, _spot, _community)

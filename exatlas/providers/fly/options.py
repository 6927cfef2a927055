"""What only Fly has and a request can say: our own words in `provider_opts`, and the rest, which is Fly's body.

========== ============================================================================================
word       meaning
========== ============================================================================================
`app`      the app to put the machine into; it is made if there is none. Without it every machine gets
           an app of its own, which goes with the machine.
`org`      the organisation's slug; without it the one that the token belongs to
`size`     one of Fly's names for a size, such as `performance-2x`, instead of `cpus`
`mount`    where a volume is mounted, `/data` unless given
`ipv4`     `"dedicated"` rents an IPv4 address ($2 a month) for `tcp` ports on IPv4 and for `udp` ports
`owner`    written into the machine's metadata, for telling several services of one account apart
========== ============================================================================================

Everything else is laid over the body of the create, such as `{"config": {"restart": {"policy": "no"}}}`.
"""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from exatlas.records.compute import ComputeRequest

MOUNT_PATH = "/data"
WORDS = frozenset({"app", "org", "size", "mount", "ipv4", "owner"})


@frozen(kw_only=True)
class Settings:
    """What a provider instance was made with; it stands in for what a request does not say."""

    app: str | None = None
    org: str | None = None
    owner: str | None = None


@frozen(kw_only=True)
class Options:
    """Our words of a request, as given; the rules check them before they are used."""

    app: str | None
    org: str | None
    size: str | None
    mount: str
    dedicated_ipv4: bool
    owner: str | None
    volume_id: str | None
    """The volume to attach, without the app that may be named in front of it."""
    body: Mapping[str, Any]
    """What is laid over Fly's body."""


def options_of(request: ComputeRequest, settings: Settings) -> Options:
    """Read a request. A volume that names its app, as in `app/vol_123`, decides the app where nothing else does."""
    opts = request.provider_opts
    volume_app, _, volume_id = (request.network_volume_id or "").rpartition("/")
    return Options(
        app=opts.get("app") or volume_app or settings.app,
        org=opts.get("org") or settings.org,
        size=opts.get("size"),
        mount=opts.get("mount", MOUNT_PATH),
        dedicated_ipv4=opts.get("ipv4") == "dedicated",
        owner=opts.get("owner") or settings.owner,
        volume_id=volume_id or None,
        body={key: value for key, value in opts.items() if key not in WORDS},
    )

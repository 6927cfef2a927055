"""The label, the only thing Vast keeps for us: whose machine it is, its name, and the mark of the spawn that made it.

It reads `exatlas.<owner>/<name>-<launch id>`. The owner is the beginning of the account's fingerprint: services that
share an account with keys of their own can tell their machines apart.
"""

import re

from attrs import frozen

from exatlas.launch import launch_of, mark_name

LONGEST = 256
"""On create; a later change of the label may be longer. Source: `create_instance` of the published API document."""

_OURS = re.compile(r"exatlas\.([^/]*)/(.*)", re.DOTALL)
_OWNER_LENGTH = 8


@frozen
class Label:
    """What a label says."""

    name: str | None
    """The name, with the launch id where it is ours."""
    launch_id: str | None = None
    owner: str | None = None
    """None for a machine that exatlas did not make."""


def write(name: str | None, launch_id: str, account: str) -> str:
    """The label of a machine to be made."""
    return f"exatlas.{account.replace('/', '')[:_OWNER_LENGTH]}/{mark_name(name, launch_id)}"


def read(label: str | None) -> Label:
    """What a label says; one that is not ours is a name and nothing more."""
    ours = _OURS.fullmatch(label or "")
    if ours is None:
        return Label(label or None)
    return Label(ours[2], launch_of(ours[2]), ours[1])

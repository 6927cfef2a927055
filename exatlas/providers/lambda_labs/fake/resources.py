"""The fake's SSH keys, firewall rulesets and filesystems: what outlives a machine."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, field

from exatlas.fakes.replies import json_reply
from exatlas.messages import HttpReply
from exatlas.providers.lambda_labs.fake import bodies, catalog
from exatlas.providers.lambda_labs.fake.problems import invalid, missing, problem, quota, shaken

USER = {"id": "3da5a70a57a7422ea8a7203f98b2198b", "email": "me@example.com", "status": "active"}
MOST_FILESYSTEMS = 24


@define
class Keys:
    """The account's SSH keys."""

    items: dict[str, dict[str, str]] = field(factory=dict)
    """By id."""

    def add(self, name: str, public_key: str, new_id: str) -> dict[str, str]:
        """Store one."""
        self.items[new_id] = {"id": new_id, "name": name, "public_key": public_key}
        return self.items[new_id]

    def create(self, body: Any, new_id: str) -> HttpReply:
        """POST. Without a public key Lambda makes a pair, and shows the private key once."""
        fault = bodies.key_fault(body)
        if fault:
            return invalid(fault)
        if any(key["name"] == body["name"] for key in self.items.values()):
            return invalid("An SSH key with this name already exists.")
        key = self.add(body["name"], body.get("public_key", "ssh-ed25519 AAAAGENERATED"), new_id)
        return data(key if "public_key" in body else {**key, "private_key": "-----BEGIN PRIVATE KEY-----"})

    def delete(self, key_id: str) -> HttpReply:
        """DELETE."""
        gone = self.items.pop(key_id, None)
        return data({}) if gone else problem(404, "global/not-found", "Specified SSH key does not exist.", "Check it.")

    def names(self) -> set[str]:
        """What launches may name."""
        return {key["name"] for key in self.items.values()}


@define(kw_only=True)
class Rulesets:
    """The account's regional firewall rulesets. Names need not differ."""

    quota: int
    users: Callable[[str], Sequence[str]]
    """The ids of the machines that have a ruleset now."""
    shaky: int = 0
    """How many of the next creations and deletions end in the firewall's internal error."""
    items: dict[str, dict[str, Any]] = field(factory=dict)

    def create(self, body: Any, new_id: str, now: datetime) -> HttpReply:
        """POST."""
        if self._shakes():
            return shaken()
        fault = bodies.ruleset_fault(body)
        if fault or body["region"] not in catalog.REGIONS:
            return invalid(fault or "region")
        if len(self.items) >= self.quota:
            return quota("firewall rulesets")
        rules = [dict(rule) for rule in body["rules"]]
        region = catalog.region_view(body["region"])
        self.items[new_id] = {
            "id": new_id,
            "name": body["name"],
            "region": region,
            "rules": rules,
            "created": stamp(now),
        }
        return data(self.view(new_id))

    def view(self, ruleset_id: str) -> dict[str, Any]:
        """The FirewallRuleset object."""
        return {**self.items[ruleset_id], "instance_ids": list(self.users(ruleset_id))}

    def listing(self, now: datetime, lag_s: float) -> HttpReply:
        """GET all that can be seen by now."""
        seen = [
            key
            for key, item in self.items.items()
            if now - datetime.fromisoformat(item["created"]) >= timedelta(seconds=lag_s)
        ]
        return data([self.view(ruleset_id) for ruleset_id in seen])

    def delete(self, ruleset_id: str) -> HttpReply:
        """DELETE."""
        if self._shakes():
            return shaken()
        if ruleset_id not in self.items:
            return missing("Specified firewall ruleset does not exist.")
        if self.users(ruleset_id):
            code = "firewall-rulesets/firewall-ruleset-in-use"
            return problem(400, code, "The firewall ruleset is in use.", "Terminate its instances first.")
        del self.items[ruleset_id]
        return data({})

    def _shakes(self) -> bool:
        self.shaky -= 1
        return self.shaky >= 0


@define(kw_only=True)
class Filesystems:
    """The account's filesystems. Names differ."""

    users: Callable[[str], Sequence[str]]
    """The ids of the machines that have a filesystem now."""
    items: dict[str, dict[str, Any]] = field(factory=dict)

    def create(self, body: Any, new_id: str, now: datetime) -> HttpReply:
        """POST."""
        fault = bodies.filesystem_fault(body)
        if fault or body["region"] not in catalog.REGIONS:
            return invalid(fault or "region")
        if self.named(body["name"]):
            return problem(
                400, "global/duplicate", "A filesystem with this name already exists.", "Choose another name."
            )
        if len(self.items) >= MOST_FILESYSTEMS:
            return quota("filesystems")
        self.items[new_id] = {
            "id": new_id,
            "name": body["name"],
            "mount_point": f"/lambda/nfs/{body['name']}",
            "created": stamp(now),
            "created_by": USER,
            "region": catalog.region_view(body["region"]),
            "bytes_used": 0,
        }
        return data(self.view(new_id))

    def view(self, filesystem_id: str) -> dict[str, Any]:
        """The Filesystem object."""
        return {**self.items[filesystem_id], "is_in_use": bool(self.users(filesystem_id))}

    def listing(self) -> HttpReply:
        """GET all."""
        return data([self.view(filesystem_id) for filesystem_id in self.items])

    def delete(self, filesystem_id: str) -> HttpReply:
        """DELETE."""
        if filesystem_id not in self.items:
            return missing("Specified filesystem does not exist.")
        if self.users(filesystem_id):
            code = "filesystems/filesystem-in-use"
            return problem(400, code, "The filesystem is in use.", "Terminate its instances first.")
        del self.items[filesystem_id]
        return data({"deleted_ids": [filesystem_id]})

    def named(self, name: str) -> Mapping[str, Any] | None:
        """The one with this name."""
        return next((item for item in self.items.values() if item["name"] == name), None)


def data(content: Any) -> HttpReply:
    """A success."""
    return json_reply(200, {"data": content})


def stamp(instant: datetime) -> str:
    """An instant as Lambda writes it."""
    return instant.astimezone(UTC).isoformat(timespec="seconds")

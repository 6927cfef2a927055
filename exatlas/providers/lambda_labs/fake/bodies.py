"""How strictly Lambda reads a request body."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

LAUNCH = frozenset(
    {
        "region_name",
        "instance_type_name",
        "ssh_key_names",
        "file_system_names",
        "file_system_mounts",
        "hostname",
        "name",
        "image",
        "user_data",
        "tags",
        "firewall_rulesets",
    }
)
RULESET = frozenset({"name", "region", "rules"})
SSH_KEY = frozenset({"name", "public_key"})
FILESYSTEM = frozenset({"name", "region"})
ACTION = frozenset({"instance_ids"})

LARGEST_USER_DATA = 1_000_000
MOST_RULES = 20
PROTOCOLS = ("tcp", "udp", "icmp", "all")

_TAG_KEY = re.compile(r"[a-z][a-z0-9:-]+", re.ASCII)
_HOSTNAME = re.compile(r"[a-z0-9][0-9a-z-]{0,62}", re.ASCII)
_MOUNT = re.compile(r"(/home|/lambda/nfs|/data)[/a-zA-Z0-9-]*", re.ASCII)
_FILESYSTEM = re.compile(r"[a-zA-Z]+[0-9a-zA-Z-]*", re.ASCII)


def shape_fault(body: Any, fields: frozenset[str], required: tuple[str, ...]) -> str | None:
    """What is wrong with a body's fields."""
    if not isinstance(body, dict):
        return "expected an object"
    unknown = sorted(set(body) - fields)
    lacking = [name for name in required if name not in body]
    if unknown or lacking:
        return f"unknown fields {unknown}, missing fields {lacking}"
    return None


def launch_fault(body: Any) -> str | None:
    """What is wrong with a launch, before anything it names is looked up."""
    fault = shape_fault(body, LAUNCH, ("region_name", "instance_type_name", "ssh_key_names"))
    if fault:
        return fault
    rules = {
        "ssh_key_names: exactly one": _texts(body["ssh_key_names"]) and len(body["ssh_key_names"]) == 1,
        "name: at most 64 characters": _text(body.get("name", "")) and len(body.get("name", "")) <= 64,
        "hostname": _HOSTNAME.fullmatch(body.get("hostname", "a")),
        "user_data: plain text of at most 1 MB": _text(body.get("user_data", ""))
        and len(body.get("user_data", "").encode()) <= LARGEST_USER_DATA,
        "tags": all(_is_tag(tag) for tag in body.get("tags", ())),
        "tags: keys must differ": _differ([tag["key"] for tag in body.get("tags", ())]),
        "file_system_names": _texts(body.get("file_system_names", [])),
        "file_system_mounts": all(_MOUNT.fullmatch(each["mount_point"]) for each in body.get("file_system_mounts", ())),
        "firewall_rulesets": all(set(each) == {"id"} for each in body.get("firewall_rulesets", ())),
    }
    return next((text for text, holds in rules.items() if not holds), None)


def ruleset_fault(body: Any) -> str | None:
    """What is wrong with a firewall ruleset."""
    fault = shape_fault(body, RULESET, ("name", "region", "rules"))
    if fault:
        return fault
    if len(body["name"]) > 64 or len(body["rules"]) > MOST_RULES:
        return "name or rules: too long"
    return None if all(_is_rule(rule) for rule in body["rules"]) else "rules"


def filesystem_fault(body: Any) -> str | None:
    """What is wrong with a filesystem."""
    fault = shape_fault(body, FILESYSTEM, ("name", "region"))
    if fault:
        return fault
    return None if _FILESYSTEM.fullmatch(body["name"]) and len(body["name"]) <= 60 else "name"


def key_fault(body: Any) -> str | None:
    """What is wrong with an SSH key."""
    fault = shape_fault(body, SSH_KEY, ("name",))
    if fault:
        return fault
    sizes = 1 <= len(body["name"]) <= 64 and 1 <= len(body.get("public_key", "x")) <= 4096
    return None if sizes else "name or public_key: too long"


def ids_fault(body: Any) -> str | None:
    """What is wrong with an operation on machines."""
    fault = shape_fault(body, ACTION, ("instance_ids",))
    return fault or (None if _texts(body["instance_ids"]) and body["instance_ids"] else "instance_ids")


def _is_tag(tag: Mapping[str, str]) -> bool:
    if set(tag) != {"key", "value"} or len(tag["key"]) > 55 or len(tag["value"]) > 128:
        return False
    return bool(_TAG_KEY.fullmatch(tag["key"])) and not tag["key"].startswith("lambda-ai-")


def _is_rule(rule: Mapping[str, Any]) -> bool:
    known = {"protocol", "port_range", "source_network", "description"}
    if not {"protocol", "source_network", "description"} <= set(rule) <= known or rule["protocol"] not in PROTOCOLS:
        return False
    if (rule["protocol"] == "icmp") is ("port_range" in rule) or len(rule["description"]) > 128:
        return False
    first, last = rule.get("port_range", (1, 1))
    return 1 <= first <= last <= 65535 and bool(IPv4Network(rule["source_network"]))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _differ(values: list[str]) -> bool:
    return len(set(values)) == len(values)

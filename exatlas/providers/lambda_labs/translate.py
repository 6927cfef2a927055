"""What we ask for, in Lambda's words. Pure: a request and a context in, bodies and calls out.

Source: https://docs.lambda.ai/api/cloud, read 2026-11-23. The list of filesystems has a hyphen in its path, creating
and deleting one has not.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from exatlas.messages import HttpCall, Repeat
from exatlas.protocols import Context
from exatlas.providers.lambda_labs import calls, options, tags
from exatlas.providers.lambda_labs.choice import Candidate
from exatlas.providers.lambda_labs.userdata import SSH_PORT, UserData
from exatlas.records.compute import ComputeRequest, PortSpec
from exatlas.transport.calls import merge, segment

ANYWHERE = "0.0.0.0/0"


def launch_body(
    request: ComputeRequest,
    candidate: Candidate,
    user_data: UserData,
    *,
    name: str,
    key_name: str | None,
    filesystem: str | None,
    marks: Sequence[Mapping[str, str]],
    ruleset_id: str | None,
) -> dict[str, Any]:
    """The body of one launch. Tags of the caller's come after ours; everything else in provider_opts wins."""
    optional = {
        "ssh_key_names": [key_name] if key_name else None,
        "file_system_names": [filesystem] if filesystem else None,
        "firewall_rulesets": [{"id": ruleset_id}] if ruleset_id else None,
    }
    body = {
        "region_name": candidate.region,
        "instance_type_name": candidate.type.name,
        "name": name,
        "user_data": user_data.text,
        **{key: value for key, value in optional.items() if value},
    }
    opts = options.native(request.provider_opts)
    theirs = opts.pop("tags", ())
    return {**merge(body, opts), "tags": [*marks, *theirs]}


def marks(request: ComputeRequest, ctx: Context, now: datetime) -> list[dict[str, str]]:
    """The tags that say what Lambda does not keep."""
    return tags.written(
        {
            tags.LAUNCH: ctx.launch_id or "",
            tags.OWNER: ctx.account,
            tags.CREATED: str(int(now.timestamp())),
            tags.IMAGE: request.image or "",
            tags.PORTS: tags.ports_text(request.ports),
        }
    )


def launch(body: Mapping[str, Any], secrets: Sequence[str], ctx: Context) -> HttpCall:
    """Rent one machine. There is no idempotency key: name and tags carry the launch id instead.

    Its repetition after a 429 takes another turn of the launch limit, so it is not the transport's.
    """
    path = "/instance-operations/launch"
    return calls.api(ctx, "spawn_compute", "POST", path, body=body, secrets=secrets, repeat=Repeat.NEVER)


def list_instances(ctx: Context, operation: str = "list_compute") -> HttpCall:
    """Read all machines. There are no pages."""
    return calls.api(ctx, operation, "GET", "/instances")


def get_instance(compute_id: str, ctx: Context) -> HttpCall:
    """Read one machine."""
    path = f"/instances/{segment(compute_id, 'compute id')}"
    return calls.api(ctx, "get_compute", "GET", path, template="/instances/{id}")


def terminate(ids: Sequence[str], ctx: Context, operation: str = "terminate") -> HttpCall:
    """Terminate machines. Repeating it changes nothing."""
    body = {"instance_ids": list(ids)}
    path = "/instance-operations/terminate"
    return calls.api(ctx, operation, "POST", path, body=body, repeat=Repeat.SAFE)


def restart(compute_id: str, ctx: Context) -> HttpCall:
    """Reboot one machine."""
    body = {"instance_ids": [compute_id]}
    return calls.api(ctx, "restart", "POST", "/instance-operations/restart", body=body)


def instance_types(ctx: Context, operation: str) -> HttpCall:
    """Read all types, with prices and the regions that have some."""
    return calls.api(ctx, operation, "GET", "/instance-types")


def list_keys(ctx: Context) -> HttpCall:
    """Read the account's SSH keys."""
    return calls.api(ctx, "spawn_compute", "GET", "/ssh-keys")


def add_key(name: str, public_key: str, ctx: Context) -> HttpCall:
    """Store a public key."""
    return calls.api(ctx, "spawn_compute", "POST", "/ssh-keys", body={"name": name, "public_key": public_key})


def list_rulesets(ctx: Context, operation: str) -> HttpCall:
    """Read all regional firewall rulesets."""
    return calls.api(ctx, operation, "GET", "/firewall-rulesets")


def add_ruleset(name: str, region: str, rules: Sequence[Mapping[str, Any]], ctx: Context) -> HttpCall:
    """Make a firewall ruleset."""
    body = {"name": name, "region": region, "rules": list(rules)}
    return calls.api(ctx, "spawn_compute", "POST", "/firewall-rulesets", body=body)


def delete_ruleset(ruleset_id: str, ctx: Context, operation: str) -> HttpCall:
    """Delete a firewall ruleset that no machine has."""
    path = f"/firewall-rulesets/{segment(ruleset_id, 'ruleset id')}"
    return calls.api(ctx, operation, "DELETE", path, template="/firewall-rulesets/{id}")


def rules_for(ports: Sequence[PortSpec], source_network: str) -> list[dict[str, Any]]:
    """The rules that open these ports. SSH is always among them: a ruleset may replace the account's own rules."""
    found = [_rule("tcp", SSH_PORT, ANYWHERE)]
    for spec in ports:
        rule = _rule("udp" if spec.protocol == "udp" else "tcp", spec.port, source_network)
        if (spec.port, rule["protocol"]) != (SSH_PORT, "tcp"):
            found.append(rule)
    return found


def _rule(protocol: str, port: int, source_network: str) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "port_range": [port, port],
        "source_network": source_network,
        "description": f"exatlas: {port}/{protocol}",
    }


def list_filesystems(ctx: Context, operation: str = "list_filesystems") -> HttpCall:
    """Read all filesystems."""
    return calls.api(ctx, operation, "GET", "/file-systems")


def add_filesystem(name: str, region: str, ctx: Context) -> HttpCall:
    """Make a filesystem."""
    body = {"name": name, "region": region}
    return calls.api(ctx, "create_filesystem", "POST", "/filesystems", body=body)


def delete_filesystem(filesystem_id: str, ctx: Context) -> HttpCall:
    """Delete a filesystem and what is on it."""
    path = f"/filesystems/{segment(filesystem_id, 'filesystem id')}"
    return calls.api(ctx, "delete_filesystem", "DELETE", path, template="/filesystems/{id}")

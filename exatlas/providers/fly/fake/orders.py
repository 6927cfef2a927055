"""The fake's routes for one machine: reads, changes, waits that are held, and leases."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from exatlas.fakes.replies import Reply, json_body, json_reply
from exatlas.messages import HttpCall, HttpReply
from exatlas.providers.fly.fake.account import FakeAccount, Query
from exatlas.providers.fly.fake.apps import FakeApp
from exatlas.providers.fly.fake.fleet import guest_fault, rise
from exatlas.providers.fly.fake.machines import RESTING, FakeLease, FakeMachine, stamp
from exatlas.providers.fly.fake.problems import not_found, problem, shortage

OVER = frozenset({"destroying", "destroyed"})
LONGEST_WAIT_S = 60
WAITED_FOR = frozenset({"started", "stopped", "suspended", "destroyed", "failed", "settled"})
LONGEST_STEP_S = 1.0
"""How often a held wait looks again, for what others do meanwhile."""


async def answer(
    cloud: FakeAccount,
    call: HttpCall,
    method: str,
    app: FakeApp,
    machine_id: str,
    more: list[str],
    query: Query,
    headers: Mapping[str, str],
) -> Reply:
    """Answer a call that names a machine."""
    machine = cloud.machines.get(machine_id)
    gone = machine.gone_since(cloud.clock.now()) if machine else None
    forgotten = gone is not None and cloud.clock.now() - gone >= timedelta(seconds=cloud.remembers_s)
    if machine is None or machine.app != app.name or forgotten:
        return not_found("machine")
    match (method, *more):
        case ("GET",):
            return json_reply(200, machine.view(cloud.clock.now()))
        case ("GET", "wait"):
            return await _wait(cloud, machine, query)
        case ("POST", "lease"):
            return _lease(cloud, machine, query, headers.get("fly-machine-lease-nonce"))
        case ("DELETE", "lease"):
            return _release(cloud, machine, headers.get("fly-machine-lease-nonce"))
    if gone is not None:
        return not_found("machine")
    return _change(cloud, call, machine, method, more, query, headers)


def _change(
    cloud: FakeAccount,
    call: HttpCall,
    machine: FakeMachine,
    method: str,
    more: list[str],
    query: Query,
    headers: Mapping[str, str],
) -> HttpReply:
    now = cloud.clock.now()
    held = machine.leased(now, headers.get("fly-machine-lease-nonce"))
    if held is not None:
        text = f"lease currently held by {held.owner}, expires at {stamp(held.expires_at)}"
        return problem(409, f"aborted: machine ID {machine.native_id} {text}")
    if machine.unreachable:
        return problem(503, "unavailable: the machine's host does not answer")
    state = machine.state(now)
    match (method, *more):
        case ("DELETE",):
            return _destroy(cloud, machine, state, query)
        case ("POST",):
            return _update(cloud, machine, json_body(call) or {})
        case ("POST", "start"):
            return _start(cloud, machine, state)
        case ("POST", "stop" | "suspend" as action):
            return _stop(cloud, machine, state, action)
        case ("POST", "restart"):
            machine.go(now, (0, "restarting"), (cloud.boot_s, "started"))
            return json_reply(200, {"ok": True})
    return not_found("page")


def _destroy(cloud: FakeAccount, machine: FakeMachine, state: str, query: Query) -> HttpReply:
    if state == "started" and query.get("force") != "true":
        return problem(412, "failed_precondition: unable to destroy machine, not currently stopped")
    end(cloud, machine)
    return json_reply(200, {"ok": True})


def _start(cloud: FakeAccount, machine: FakeMachine, state: str) -> HttpReply:
    now = cloud.clock.now()
    if machine.native_id in cloud.full_hosts:
        return shortage("409")
    if state in ("replacing", "updating"):
        return problem(412, "failed_precondition: machine getting replaced, refusing to start")
    if state not in ("stopped", "suspended", "started", "failed"):
        return problem(412, f"failed_precondition: unable to start machine from current state: '{state}'")
    if state != "started":
        machine.go(now, (0, "starting"), *rise(cloud, machine.config, 0, cloud.boot_s)[1:])
    return json_reply(200, {"previous_state": state, "migrated": False, "new_host": ""})


def _stop(cloud: FakeAccount, machine: FakeMachine, state: str, action: str) -> HttpReply:
    now = cloud.clock.now()
    on_the_way, end = ("stopping", "stopped") if action == "stop" else ("suspending", "suspended")
    if state in ("created", "creating"):
        return problem(412, f"failed_precondition: unable to {action} machine from current state: '{state}'")
    if state not in ("stopped", "suspended") or (state, action) == ("suspended", "stop"):
        machine.go(now, (0, on_the_way), (cloud.stop_s, end))
    return json_reply(200, {"ok": True})


def _update(cloud: FakeAccount, machine: FakeMachine, body: dict[str, Any]) -> HttpReply:
    now = cloud.clock.now()
    if body.get("current_version") not in (None, machine.version):
        return problem(412, "failed_precondition: current_version does not match")
    if fault := guest_fault(body["config"]["guest"]):
        return problem(400, f"invalid_argument: {fault}")
    machine.config = body["config"]
    machine.version = f"01VERSION{next(cloud.ids):017d}"
    machine.go(now, (0, "updating"), (cloud.boot_s, "started"))
    return json_reply(200, machine.view(now))


async def _wait(cloud: FakeAccount, machine: FakeMachine, query: Query) -> HttpReply:
    """Hold the reply until the machine is in one of the states, or answer 408."""
    wanted = query.get("state", "started").split(",")
    hold_s = int(query.get("timeout", LONGEST_WAIT_S))
    if not 1 <= hold_s <= LONGEST_WAIT_S:
        return problem(400, "invalid_argument: timeout: value must be inside range [1s, 1m0s]")
    if not WAITED_FOR.issuperset(wanted):
        return problem(400, f"invalid_argument: unknown state {','.join(wanted)}")
    version = query.get("version") or query.get("instance_id")
    until = cloud.clock.monotonic() + hold_s
    while True:
        now = cloud.clock.now()
        state = machine.state(now) if version in (None, machine.version) else "replaced"
        if state in wanted or ("settled" in wanted and state in RESTING):
            return json_reply(200, {"ok": True, "state": state, "version": machine.version})
        left_s = until - cloud.clock.monotonic()
        if left_s <= 0:
            text = f"machine failed to reach desired state, {','.join(wanted)}, currently {state}"
            return problem(408, f"deadline_exceeded: {text}")
        change = machine.next_change(now)
        change_s = LONGEST_STEP_S if change is None else (change - now).total_seconds()
        await cloud.clock.sleep(min(left_s, change_s, LONGEST_STEP_S))


def end(cloud: FakeAccount, machine: FakeMachine) -> None:
    """Destroy a machine and give its room back."""
    now = cloud.clock.now()
    if machine.state(now) not in OVER:
        cloud.room.take(machine.region, -1)
        machine.go(now, (0, "destroying"), (cloud.destroy_s, "destroyed"))


def _lease(cloud: FakeAccount, machine: FakeMachine, query: Query, nonce: str | None) -> HttpReply:
    now = cloud.clock.now()
    held = machine.leased(now, nonce)
    if held is not None:
        text = f"lease currently held by {held.owner}, expires at {stamp(held.expires_at)}"
        return problem(409, f"aborted: machine ID {machine.native_id} {text}")
    until = now + timedelta(seconds=int(query.get("ttl", 30)))
    machine.lease = FakeLease(nonce or f"nonce{next(cloud.ids):08x}", until, "exatlas@tokens.fly.io")
    inner = {"nonce": machine.lease.nonce, "expires_at": int(until.timestamp()), "owner": machine.lease.owner}
    return json_reply(201, {"status": "success", "data": {**inner, "description": "", "version": machine.version}})


def _release(cloud: FakeAccount, machine: FakeMachine, nonce: str | None) -> HttpReply:
    if nonce is None:
        return problem(400, "invalid_argument: fly-machine-lease-nonce is required")
    if machine.lease is None or machine.lease.nonce != nonce:
        return not_found("lease")
    machine.lease = None
    return json_reply(200, {"status": "success"})

"""Rent one machine: what it needs is found first, then candidates are launched in order, one of them once."""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import evolve, frozen

from exatlas.errors import AtlasError, ForbiddenError, NoCapacityError, QuotaError, RateLimitedError
from exatlas.launch import create_once, in_order, mark_name, new_launch_id
from exatlas.messages import HttpCall
from exatlas.protocols import Context
from exatlas.providers.lambda_labs import (
    choice,
    filesystems,
    keys,
    limits,
    normalize,
    reading,
    rules,
    rulesets,
    tags,
    translate,
    userdata,
)
from exatlas.providers.lambda_labs.choice import Candidate
from exatlas.providers.lambda_labs.exchange import ask
from exatlas.providers.lambda_labs.filesystems import Filesystem
from exatlas.providers.lambda_labs.userdata import UserData
from exatlas.records.compute import Compute, ComputeRequest, ComputeStatus
from exatlas.transport.asking import done

log = logging.getLogger("exatlas.providers.lambda_labs")

LAUNCH_TRIES = 4
"""In the face of 429, each a turn of the launch limit apart."""
ENDING = frozenset({ComputeStatus.TERMINATING, ComputeStatus.TERMINATED})
LONGEST_ADVICE_S = 60.0
"""Where Lambda asks for more patience than this, the caller gets its refusal instead."""


@frozen(kw_only=True)
class Plan:
    """What all launches of one spawn have in common."""

    request: ComputeRequest
    ctx: Context
    name: str
    user_data: UserData
    key_name: str | None
    filesystem: Filesystem | None
    marks: Sequence[Mapping[str, str]]

    @property
    def needs_ruleset(self) -> bool:
        """Whether ports are to be opened, and the caller has not brought rulesets for it."""
        return bool(self.request.ports) and "firewall_rulesets" not in self.request.provider_opts

    def body(self, candidate: Candidate, ruleset_id: str | None) -> dict[str, Any]:
        """The launch of one candidate."""
        return translate.launch_body(
            self.request,
            candidate,
            self.user_data,
            name=self.name,
            key_name=self.key_name,
            filesystem=self.filesystem.name if self.filesystem else None,
            marks=self.marks,
            ruleset_id=ruleset_id,
        )

    def compute(self, compute_id: str, candidate: Candidate) -> Compute:
        """The machine as far as we know it."""
        marks = {tag["key"]: tag["value"] for tag in self.marks}
        return normalize.provisional(
            compute_id,
            self.name,
            candidate.type,
            candidate.region,
            self.request.ports,
            provider=self.ctx.provider,
            launch_id=self.ctx.launch_id,
            image=self.request.image,
            created_at=tags.created_at(marks[tags.CREATED]),
        )


async def spawn(request: ComputeRequest, ctx: Context) -> Compute:
    """Rent one machine: the next candidate is launched only when Lambda has none of the last."""
    rules.check_spawn(request, ctx.provider)
    marked = ctx if ctx.launch_id else evolve(ctx, launch_id=new_launch_id())
    has_gpus = request.gpu is not None
    userdata.build(request, marked, gpus=has_gpus)  # too large a document is refused before anything is sent
    filesystem = await filesystems.find(request.network_volume_id, marked) if request.network_volume_id else None
    types = await ask(marked, translate.instance_types(marked, "spawn_compute"), normalize.instance_types)
    found = choice.candidates(request, types, marked, only_region=filesystem.region if filesystem else None)
    plan = Plan(
        request=request,
        ctx=marked,
        name=mark_name(request.name, marked.launch_id or ""),
        user_data=userdata.build(
            request, marked, gpus=has_gpus, filesystem_path=filesystem.mount_point if filesystem else None
        ),
        key_name=await keys.name_for(request, marked),
        filesystem=filesystem,
        marks=translate.marks(request, marked, marked.clock.now()),
    )
    return await in_order(_attempts(plan, found))


def _attempts(plan: Plan, found: Sequence[Candidate]) -> Iterator[tuple[str, Callable[[], Awaitable[Compute]]]]:
    """The launches to try. What is forbidden is forbidden for the whole account, so no other is tried after it."""
    barred: list[ForbiddenError] = []

    async def attempt(candidate: Candidate) -> Compute:
        try:
            return await _attempt(plan, candidate)
        except ForbiddenError as error:
            barred.append(error)
            raise

    for candidate in found:
        if barred:
            return
        if candidate.type.arm:
            log.warning("%s has an arm64 processor: the image must be built for it", candidate.type.name)
        yield str(candidate), partial(attempt, candidate)


async def _attempt(plan: Plan, candidate: Candidate) -> Compute:
    """Launch one candidate; unless a machine came of it, its firewall ruleset goes again.

    A ruleset that a machine has after all cannot be deleted; it goes when that machine is terminated.
    """
    ids: list[str] = []
    try:
        async with limits.launches(plan.ctx).turn():
            if plan.needs_ruleset:
                ids.append(await rulesets.make(plan.request, candidate.region, plan.ctx))
            create = partial(_create, plan, candidate, next(iter(ids), None))
            compute = await create_once(create, partial(_find, plan, candidate), plan.ctx)
        await _keep_only(compute, plan)
    except BaseException:
        if plan.needs_ruleset:
            await rulesets.remove([plan.ctx.launch_id or ""], plan.ctx, "spawn_compute", ids=ids)
        raise
    return compute


async def _create(plan: Plan, candidate: Candidate, ruleset_id: str | None) -> Compute:
    """Launch, and wait a 429 out. A refusal is believed only when the list has no machine of this launch either.

    That tells the refusal of a launch from that of its double, should something on the way have delivered it twice.
    """
    call = translate.launch(plan.body(candidate, ruleset_id), plan.user_data.secrets, plan.ctx)
    for attempt in range(1, LAUNCH_TRIES + 1):
        try:
            return plan.compute(await _launch(call, plan.ctx), candidate)
        except (NoCapacityError, QuotaError, RateLimitedError) as error:
            wait_s = max(error.retry_after or 0.0, limits.LAUNCH_EVERY_S)
            again = isinstance(error, RateLimitedError) and attempt < LAUNCH_TRIES and wait_s <= LONGEST_ADVICE_S
            if again:
                await plan.ctx.clock.sleep(wait_s)  # which outlasts the lag of the list
            found = await _found_after_all(plan, candidate)
            if found is not None:
                return found
            if not again:
                raise
    raise AssertionError("the last attempt returns or raises")


async def _launch(call: HttpCall, ctx: Context) -> str:
    try:
        return await ask(ctx, call, normalize.launched)
    finally:
        reading.forget(ctx)
        # The turn was taken before the ruleset was made; what counts is when the launch left.
        limits.launches(ctx).slow_down(limits.LAUNCH_EVERY_S)


async def _find(plan: Plan, candidate: Candidate) -> Compute | None:
    """The machine of this launch, should there be one; what Lambda does not say of it yet is filled in."""
    found = next(iter(await _machines(plan)), None)
    if found is None:
        return None
    ours = plan.compute(found.id, candidate)
    ports, created_at = found.ports or ours.ports, found.created_at or ours.created_at
    return evolve(found, image=ours.image, ports=ports, created_at=created_at)


async def _found_after_all(plan: Plan, candidate: Candidate) -> Compute | None:
    try:
        return await _find(plan, candidate)
    except AtlasError as error:
        log.debug("looking for launch %s failed: %s", plan.ctx.launch_id, error)
        return None


async def _keep_only(compute: Compute, plan: Plan) -> None:
    """Make sure that one launch has rented one machine: a request that was delivered twice has rented two."""
    try:
        found = await _machines(plan)
    except AtlasError as error:
        log.debug("looking for twins of launch %s failed: %s", plan.ctx.launch_id, error)
        return
    await _drop([machine for machine in found if machine.id != compute.id], plan)


async def _machines(plan: Plan) -> list[Compute]:
    rows = await ask(plan.ctx, translate.list_instances(plan.ctx, "spawn_compute"), normalize.rows)
    machines = [normalize.compute(row, plan.ctx.provider) for row in rows]
    return [each for each in machines if each.launch_id == plan.ctx.launch_id and each.status not in ENDING]


async def _drop(twins: Sequence[Compute], plan: Plan) -> None:
    if not twins:
        return
    ids = [twin.id for twin in twins]
    try:
        await ask(plan.ctx, translate.terminate(ids, plan.ctx, "spawn_compute"), done)
    except AtlasError:
        log.exception(
            "launch %s has rented %s besides the machine it was for, and they could not be terminated",
            plan.ctx.launch_id,
            ", ".join(ids),
        )

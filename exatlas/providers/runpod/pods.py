"""Machines: rent, read, stop, start, terminate, and what there is to rent."""

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from attrs import evolve

from exatlas.errors import AtlasError, ConflictError, NoCapacityError, NotFoundError
from exatlas.launch import create_once, in_order, mark_name, may_have_acted, new_launch_id
from exatlas.protocols import Context
from exatlas.providers.runpod import gpus, normalize, rules, translate
from exatlas.providers.runpod.exchange import all_pages, ask
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest, ComputeStatus
from exatlas.records.gpu import GpuType
from exatlas.transport.asking import done
from exatlas.transport.shape import Fields, body_of

T = TypeVar("T")

GONE_CHECKS_S = (1.0, 3.0)
"""A new id answers 404 for a moment, so a first 404 does not prove a machine gone. These are the waits before it is
asked again; the last 404 is believed."""
ACTION_TRIES = 3

STOPPED = frozenset({ComputeStatus.STOPPED, ComputeStatus.TERMINATED})
STARTED = frozenset({ComputeStatus.PROVISIONING, ComputeStatus.RUNNING})


async def spawn(request: ComputeRequest, ctx: Context) -> Compute:
    """Rent one machine: one create per GPU and cloud, in order, the next only when RunPod has none of the last."""
    rules.check_spawn(request, ctx.provider)
    marked = ctx if ctx.launch_id else evolve(ctx, launch_id=new_launch_id())
    name = mark_name(request.name, marked.launch_id or "")
    bodies = translate.pod_bodies(request, await _gpu_ids(request, marked), name)
    find = partial(_find, name, marked)
    return await in_order(
        (_shape_of(body), partial(create_once, partial(_create, body, marked), find, marked)) for body in bodies
    )


async def _gpu_ids(request: ComputeRequest, ctx: Context) -> list[str]:
    """The ids to try. The catalogue is read once, and only when a name is not in our table."""
    wanted = request.gpu or ()
    known = {name: gpus.known_ids(name) for name in wanted}
    catalog = None
    if None in known.values():
        catalog = await ask(ctx, translate.gpu_names(ctx), lambda reply: reply)
    ids: list[str] = []
    for name, found in known.items():
        if found is None and catalog is not None:
            found = (normalize.gpu_id_named(catalog, name) or name,)
        ids += found or ()
    return list(dict.fromkeys(ids))


async def _create(body: Mapping[str, Any], ctx: Context) -> Compute:
    return await ask(ctx, translate.spawn(body, ctx), _compute_reader(ctx))


async def _find(name: str, ctx: Context) -> Compute | None:
    """The machine with exactly this name. Names carry the launch id, so there is at most one."""
    pods = await all_pages(
        ctx, partial(_list_for_spawn, ctx), "pods", partial(normalize.compute, provider=ctx.provider)
    )
    return next((pod for pod in pods if pod.name == name and not pod.status.is_terminal), None)


def _list_for_spawn(ctx: Context, cursor: str | None) -> Any:
    return translate.list_pods(cursor, ctx, "spawn_compute")


def _shape_of(body: Mapping[str, Any]) -> str:
    shape = body.get("gpu") or body.get("cpu")
    kind = shape.get("id") if isinstance(shape, Mapping) else shape
    return f"{kind} in {body.get('cloud')}"


def _compute_reader(ctx: Context) -> Any:
    return lambda reply: normalize.compute(body_of(reply), ctx.provider)


async def get(compute_id: str, ctx: Context) -> Compute:
    """Read one machine. A 404 is asked again once, because a new id may not be visible yet."""
    call = translate.get_pod(compute_id, ctx)
    try:
        return await ask(ctx, call, _compute_reader(ctx))
    except NotFoundError:
        await ctx.clock.sleep(GONE_CHECKS_S[0])
        return await ask(ctx, call, _compute_reader(ctx))


async def list_all(filters: ComputeFilter, ctx: Context) -> list[Compute]:
    """All machines that pass. RunPod ignores filters it does not know, so they are applied here."""
    read = partial(normalize.compute, provider=ctx.provider)
    pods = await all_pages(ctx, partial(_list_page, ctx), "pods", read)
    return [pod for pod in pods if filters.admits(pod)]


def _list_page(ctx: Context, cursor: str | None) -> Any:
    return translate.list_pods(cursor, ctx)


async def terminate(compute_id: str, ctx: Context) -> None:
    """Destroy one machine. Believes a 404 only when it stays: a machine just rented may not be visible yet."""
    call = translate.delete_pod(compute_id, ctx)
    for wait_s in (*GONE_CHECKS_S, None):
        try:
            return await ask(ctx, call, done)
        except NotFoundError:
            if wait_s is None:
                return None
        await ctx.clock.sleep(wait_s)
    return None


async def stop(compute_id: str, ctx: Context) -> None:
    """Release the machine and keep its volume. Success when it is, or already was, stopped."""
    await _act(compute_id, "stop", STOPPED, ctx)


async def start(compute_id: str, ctx: Context) -> None:
    """Bring a stopped machine back to its host. Raises NoCapacityError when the host has no GPUs left for it."""
    pod = await _act(compute_id, "start", STARTED, ctx)
    if normalize.has_no_gpus(pod):
        raise NoCapacityError(
            f"{compute_id} came back without a GPU because its host has none free; what is on its volume can be "
            "fetched now. To have a GPU again, terminate it and spawn a new one",
            provider=ctx.provider,
            operation="start",
        )


async def restart(compute_id: str, ctx: Context) -> None:
    """Restart the container of a running machine in place. Only its mounts survive.

    Raises:
        ConflictError: the machine is not running.
    """
    await ask(ctx, translate.act(compute_id, "restart", ctx), done)


async def _act(compute_id: str, action: str, goal: frozenset[ComputeStatus], ctx: Context) -> Fields:
    """Ask for a state until the machine is in it or on its way; look before asking again."""
    call = translate.act(compute_id, action, ctx)
    for attempt in range(1, ACTION_TRIES + 1):
        try:
            return await ask(ctx, call, body_of)
        except ConflictError as error:
            pod, status = await _state(compute_id, action, ctx)
            if status in goal:
                return pod
            error.extend(f"it is {status.value}")
            raise
        except AtlasError as error:
            if not may_have_acted(error):
                raise
            pod, status = await _state(compute_id, action, ctx)
            if status in goal:
                return pod
            if attempt == ACTION_TRIES:
                raise
    raise AssertionError("the last attempt returns or raises")


async def _state(compute_id: str, action: str, ctx: Context) -> tuple[Fields, ComputeStatus]:
    pod = await ask(ctx, translate.get_pod(compute_id, ctx, action), body_of)
    return pod, normalize.compute(pod, ctx.provider).status


async def list_gpu_types(ctx: Context) -> list[GpuType]:
    """Models, prices and stock: one record per model and cloud, from two calls at once."""
    secure, community = await _both(_offers("secure", ctx), _offers("community", ctx))
    return [*secure, *community]


async def _offers(cloud: str, ctx: Context) -> list[GpuType]:
    call = translate.gpu_catalog(ctx, cloud.upper())
    return await ask(ctx, call, lambda reply: normalize.gpu_types(reply, cloud, ctx.provider))


async def _both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, T]) -> tuple[T, T]:
    """Run two calls at once; if either fails, the other is cancelled and the failure raised as it is."""
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = group.create_task(first), group.create_task(second)
        return tasks[0].result(), tasks[1].result()
    except ExceptionGroup as failures:
        failure = failures.exceptions[0]
    raise failure

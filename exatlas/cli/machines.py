"""Machines that are rented already: list, show, pause, resume, destroy, and what they print."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Annotated

from cyclopts import Parameter

from exatlas.cli import show
from exatlas.cli.exits import NOT_WHOLLY, UsageError, code_of
from exatlas.cli.many import ask_all
from exatlas.cli.options import JsonOption, ProviderOption, ProvidersOption, TimeoutOption, YesOption
from exatlas.cli.shell import Shell, ShellHere
from exatlas.client.atlas import Atlas
from exatlas.errors import AtlasError, NotFoundError
from exatlas.records.compute import Compute, ComputeFilter, ComputeStatus

Id = Annotated[str, Parameter(name="ID", help="The cloud's id of the machine.")]
More = Annotated[str, Parameter(name="ID", help="More of them.")]


async def ls(
    *,
    provider: ProvidersOption = None,
    status: Annotated[ComputeStatus | None, Parameter(help="Only machines in this state.")] = None,
    name: Annotated[str | None, Parameter(help="Only machines of this name.")] = None,
    region: Annotated[str | None, Parameter(help="Only machines there.")] = None,
    gpu: Annotated[str | None, Parameter(help="Only machines with this GPU.")] = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> int:
    """List machines."""
    wanted = ComputeFilter(status=status, name=name, region=region, gpu=gpu)
    async with shell.make_atlas(timeout) as atlas:
        found, code = await ask_all(atlas, shell, provider, lambda one: atlas.list_compute(wanted, provider=one))
        if as_json:
            shell.json([show.plain(one) for one in found])
        else:
            shell.show(show.machines(found, atlas.clock.now()))
    return code


async def get(
    compute: Id,
    /,
    *,
    provider: ProviderOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Show one machine."""
    async with shell.make_atlas(timeout) as atlas:
        found = await atlas.get_compute(compute, provider=provider)
    if as_json:
        shell.json(show.plain(found))
    else:
        shell.show(show.machine(found))


async def stop(
    compute: Id,
    /,
    *more: More,
    provider: ProviderOption = None,
    yes: YesOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> int:
    """Pause machines."""
    async with shell.make_atlas(timeout) as atlas:
        if not yes and not await _agreed(atlas, shell, "stop", (compute, *more), provider):
            return NOT_WHOLLY
        return await _each(shell, "stopped", (compute, *more), lambda one: atlas.stop(one, provider=provider), as_json)


async def start(
    compute: Id,
    /,
    *more: More,
    provider: ProviderOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> int:
    """Resume machines."""
    async with shell.make_atlas(timeout) as atlas:
        return await _each(shell, "started", (compute, *more), lambda one: atlas.start(one, provider=provider), as_json)


async def terminate(
    compute: Id,
    /,
    *more: More,
    provider: ProviderOption = None,
    yes: YesOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> int:
    """Destroy machines."""
    async with shell.make_atlas(timeout) as atlas:
        if not yes and not await _agreed(atlas, shell, "terminate", (compute, *more), provider):
            return NOT_WHOLLY
        return await _each(
            shell, "terminated", (compute, *more), lambda one: atlas.terminate(one, provider=provider), as_json
        )


async def logs(
    compute: Id,
    /,
    *,
    tail: Annotated[int | None, Parameter(help="How many past lines; without it, as many as the cloud gives.")] = None,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on with new lines.")] = False,
    timestamps: Annotated[bool, Parameter(help="Put the time before each line.")] = False,
    provider: ProviderOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Show what a machine prints."""
    async with shell.make_atlas(timeout) as atlas:
        lines = atlas.stream_logs(compute, tail=tail, follow=follow, provider=provider)
        async with aclosing(lines):
            async for line in lines:
                if as_json:
                    shell.json(show.plain(line))
                else:
                    at = f"{line.at.isoformat(timespec='milliseconds')}  " if timestamps and line.at else ""
                    shell.line(f"{at}{line.line}")


async def _agreed(atlas: Atlas, shell: Shell, verb: str, computes: Sequence[str], provider: str | None) -> bool:
    """Say what is going to happen, and ask. Costs one read for each machine."""
    if not shell.can_ask:
        raise UsageError(f"{verb} asks before it acts, and there is nobody to ask here; say --yes")
    for compute in computes:
        shell.note(f"going to {verb} {await _described(atlas, compute, provider)}")
    return await shell.agrees("Go on?")


async def _described(atlas: Atlas, compute: str, provider: str | None) -> str:
    try:
        found: Compute = await atlas.get_compute(compute, provider=provider)
    except NotFoundError:
        return f"{compute} (unknown, or gone already)"
    return show.in_short(found)


async def _each(
    shell: Shell, word: str, computes: Sequence[str], act: Callable[[str], Awaitable[None]], as_json: bool
) -> int:
    """Act on each, whatever becomes of the others; the code is that of the first failure, or 1 if some went well."""
    done, failures = list[str](), list[AtlasError]()
    for compute in dict.fromkeys(computes):
        try:
            await act(compute)
        except AtlasError as error:
            failures.append(error)
            shell.note(f"{compute}: {error}")
            continue
        done.append(compute)
        if not as_json:
            shell.line(f"{word} {compute}")
    if as_json:
        shell.json({word: done})
    if not failures:
        return 0
    return NOT_WHOLLY if done else code_of(failures[0])

"""Rent a machine, wait until it runs, and leave no doubt about it on the way out."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
from attrs import evolve, frozen
from cyclopts import Parameter, validators

from exatlas.cancellation import outlive
from exatlas.cli import show
from exatlas.cli.exits import UsageError
from exatlas.cli.options import (
    JsonObject,
    JsonOption,
    ProviderOption,
    TimeoutOption,
    environment,
    file_text,
)
from exatlas.cli.shell import Shell, ShellHere
from exatlas.client.atlas import Atlas
from exatlas.client.spawning import terminate_surely
from exatlas.errors import AtlasError, NotReadyError, NotReadyReason
from exatlas.records.compute import Compute, ComputeRequest

Level = Literal["running", "ports", "tcp", "http"]


@Parameter(name="*")
@frozen(kw_only=True)
class Wishes:
    """The fields of a request, as options."""

    gpu: Annotated[
        list[str] | None, Parameter(help="h100, rtx_4090 … or the cloud's own id; repeated ones are tried in turn.")
    ] = None
    gpu_count: Annotated[int | None, Parameter(help="GPUs in the machine.")] = None
    image: Annotated[str | None, Parameter(help="The container image.")] = None
    port: Annotated[
        list[str] | None, Parameter(name=["--port", "-p"], help="8000/http, 22/tcp …; may be repeated.")
    ] = None
    env: Annotated[
        list[str] | None,
        Parameter(name=["--env", "-e"], help="NAME=VALUE, or NAME to pass on your own; may be repeated. Never shown."),
    ] = None
    env_file: Annotated[list[Path] | None, Parameter(help="A file of NAME=VALUE lines; may be repeated.")] = None
    name: Annotated[str | None, Parameter(help="A name for people.")] = None
    cpus: Annotated[int | None, Parameter(help="Virtual CPUs.")] = None
    memory_gb: Annotated[int | None, Parameter(help="Main memory.")] = None
    volume_gb: Annotated[int | None, Parameter(help="Disk that survives a stop.")] = None
    container_disk_gb: Annotated[int | None, Parameter(help="Disk that dies with the container.")] = None
    network_volume_id: Annotated[str | None, Parameter(help="Storage that outlives the machine.")] = None
    template_id: Annotated[str | None, Parameter(help="A template of the cloud, instead of an image.")] = None
    region: Annotated[
        list[str] | None, Parameter(help="Where, as the cloud spells it, best first; may be repeated.")
    ] = None
    cloud_type: Annotated[Literal["secure", "community", "any"] | None, Parameter(help="Kind of hosts.")] = None
    spot: Annotated[bool, Parameter(help="Cheaper capacity that may be taken back.")] = False
    auth: Annotated[
        Literal["none", "bearer", "signed_url"], Parameter(help="Mint a secret for the machine; needs --json.")
    ] = "none"
    ssh_key: Annotated[list[str] | None, Parameter(help="A public key, @file, or the name of a key there.")] = None
    idle_ttl: Annotated[float | None, Parameter(help="End the machine after so many idle seconds.")] = None
    provider_opts: Annotated[
        JsonObject | None, Parameter(help="JSON or @file that is merged into the cloud's own request.")
    ] = None

    def request(self, command: tuple[str, ...]) -> ComputeRequest:
        """The request that is meant.

        Raises:
            UsageError, ValidationError: it cannot be.
        """
        given: dict[str, Any] = attrs.asdict(self, recurse=False)
        given["ports"] = given.pop("port")
        given["region_hints"] = given.pop("region")
        given["ssh_keys"] = [_key(key) for key in given.pop("ssh_key") or ()]
        given["env"] = environment(given.pop("env") or (), given.pop("env_file") or ())
        return ComputeRequest(command=command, **{name: value for name, value in given.items() if value is not None})


NO_WISHES = Wishes()


async def spawn(
    *command: Annotated[str, Parameter(help="Arguments for the image's entrypoint, after --.")],
    wishes: Wishes = NO_WISHES,
    wait: Annotated[bool, Parameter(help="Wait until the machine runs.")] = False,
    wait_timeout: Annotated[
        float, Parameter(help="Seconds to wait at most; 900 unless said.", validator=validators.Number(gt=0))
    ] = 900.0,
    wait_for: Annotated[
        Level | None, Parameter(help="What to wait for: its ports are mapped, or a server answers. Implies --wait.")
    ] = None,
    terminate_on_interrupt: Annotated[bool, Parameter(help="Ctrl-C while waiting terminates the machine.")] = False,
    provider: ProviderOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Rent a machine."""
    wait = wait or wait_for is not None
    if wishes.auth != "none" and not as_json:
        raise UsageError("--auth needs --json: the secret is told once, in the JSON, and nowhere else")
    if terminate_on_interrupt and not wait:
        raise UsageError("--terminate-on-interrupt needs --wait; without it, Ctrl-C always terminates what came")
    request = wishes.request(command)
    async with shell.make_atlas(timeout) as atlas:
        with (
            shell.when_interrupted("interrupted; the machine that is being rented will be terminated first"),
            shell.progress("renting"),
        ):
            compute = await atlas.spawn_compute(request, provider=provider)
        _hand_over(compute, shell, as_json=as_json, is_final=not wait)
        if wait:
            level = wait_for or "running"
            ready = await _wait(atlas, compute, level, wait_timeout, shell, give_back=terminate_on_interrupt)
            _hand_over(evolve(ready, auth=None), shell, as_json=as_json, is_final=True)


def _hand_over(compute: Compute, shell: Shell, *, as_json: bool, is_final: bool) -> None:
    """Tell the id before anything else can go wrong, even to an output that is gone."""
    try:
        if as_json:
            shell.json(show.plain(compute, reveal=["token"]))
        elif is_final:
            shell.show(show.machine(compute))
        else:
            shell.note(f"rented {show.in_short(compute)}")
    except OSError:
        shell.note(f"rented {show.in_short(compute)}; {how_to_end(compute)}")
        raise


async def _wait(
    atlas: Atlas, compute: Compute, level: Level, seconds: float, shell: Shell, *, give_back: bool
) -> Compute:
    """Wait until it is ready; whatever else happens, say that it exists and how to end it."""
    left = f"compute {compute.id} goes on and bills; {how_to_end(compute)}"
    notice = f"terminating compute {compute.id}" if give_back else left
    try:
        with shell.when_interrupted(f"interrupted; {notice}"), shell.progress(compute.id) as tell:
            return await atlas.wait_until_ready(
                compute,
                level=level,
                timeout=seconds,
                dud_after=None,
                on_look=lambda seen: tell(f"{seen.id} {seen.status}"),
            )
    except AtlasError as error:
        if not isinstance(error, NotReadyError) or error.reason is not NotReadyReason.GONE:
            shell.note(left)
        raise
    except asyncio.CancelledError:
        if give_back:
            await _give_back(atlas, compute, shell)
        raise


async def _give_back(atlas: Atlas, compute: Compute, shell: Shell) -> None:
    ended = await outlive(lambda: terminate_surely(lambda _: atlas.terminate(compute), compute.id, atlas.clock))
    if ended.value is None:
        shell.note(f"compute {compute.id} is terminated")
    else:
        shell.note(f"compute {compute.id} could not be terminated and is probably billing: {ended.value}")


def how_to_end(compute: Compute) -> str:
    """The command that ends it."""
    return f"end it with: exatlas terminate {compute.id} --provider {compute.provider} --yes"


def _key(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return file_text(given[1:]).strip()
    except ValueError as error:
        raise UsageError(f"--ssh-key: {error}") from error

"""Serverless jobs: submit, look, watch, cancel."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import attrs
from attrs import define, frozen
from cyclopts import App, Parameter

from exatlas.cli import show
from exatlas.cli.exits import UsageError
from exatlas.cli.options import EndpointOption, JsonObject, JsonOption, ProviderOption, TimeoutOption
from exatlas.cli.shell import Shell, ShellHere
from exatlas.client.atlas import Atlas
from exatlas.errors import JobError
from exatlas.records.job import Job, JobChunk, JobPolicy, JobRequest

JobId = Annotated[str, Parameter(name="JOB", help="The job's id.")]

app = App(
    name="job",
    help="Run serverless jobs, and watch them.",
    help_format="plaintext",
    help_epilogue="""Examples:

  $ exatlas job run abc123 --input '{"prompt": "a sunset"}' --stream

  $ echo '{"prompt": "a sunset"}' | exatlas job run abc123 --input - --wait --json

  $ exatlas job status 7f2c-u1 --endpoint abc123""",
)


@Parameter(name="*")
@frozen(kw_only=True)
class Reading:
    """How a stream is read."""

    cancel_on_exit: Annotated[bool, Parameter(help="Ctrl-C cancels the job.")] = False
    strict: Annotated[bool, Parameter(help="Fail where chunks are lost, instead of marking the next one.")] = False
    decode: Annotated[Literal["sse"] | None, Parameter(help="sse: the worker yields raw server-sent events.")] = None


@Parameter(name="*")
@frozen(kw_only=True)
class Policy:
    """What the cloud should do with a job that waits or runs too long."""

    execution_timeout: Annotated[float | None, Parameter(help="Seconds a worker may spend on it.")] = None
    ttl: Annotated[float | None, Parameter(help="Seconds until it is deleted, running or not.")] = None
    low_priority: Annotated[bool, Parameter(help="Do not start more workers for it.")] = False


PLAINLY = Reading()
NO_POLICY = Policy()


@app.command
async def run(
    endpoint: Annotated[str, Parameter(name="ENDPOINT", help="The endpoint's id.")],
    /,
    *,
    given: Annotated[JsonObject, Parameter(name=["--input", "-i"], help="A JSON object, @file, or - for stdin.")],
    stream: Annotated[bool, Parameter(help="Show the output as it comes.")] = False,
    wait: Annotated[bool, Parameter(help="Wait for the end, and show the job then.")] = False,
    reading: Reading = PLAINLY,
    webhook: Annotated[str | None, Parameter(help="Called by the cloud when the job ends.")] = None,
    policy: Policy = NO_POLICY,
    provider_opts: Annotated[
        JsonObject | None, Parameter(help="JSON or @file that is merged into the cloud's own request.")
    ] = None,
    provider: ProviderOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Submit a job, once."""
    if reading != PLAINLY and not (stream or wait):
        raise UsageError("--cancel-on-exit, --strict and --decode need --stream or --wait")
    request = JobRequest(
        endpoint=endpoint,
        input=given,
        webhook=webhook,
        policy=JobPolicy(**attrs.asdict(policy)),
        provider_opts=provider_opts or {},
    )
    async with shell.make_atlas(timeout) as atlas:
        with shell.when_interrupted("interrupted while submitting; whether there is a job is not known"):
            job = await atlas.run_job(request, provider=provider)
        if not (stream or wait):
            _tell_job(job, shell, as_json=as_json)
            return
        if stream and as_json:
            shell.json({"job": show.plain(job)})
        watch = _Watch(shell, as_json=as_json, shows_chunks=stream, name=job.id, how_to_cancel=_how_to_cancel(job))
        await watch.read(atlas, job, reading, {})


@app.command
async def status(
    job: JobId,
    /,
    *,
    endpoint: EndpointOption,
    provider: ProviderOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Show a job as it is now."""
    async with shell.make_atlas(timeout) as atlas:
        found = await atlas.get_job(job, endpoint=endpoint, provider=provider)
    _tell_job(found, shell, as_json=as_json)


@app.command
async def stream(
    job: JobId,
    /,
    *,
    endpoint: EndpointOption,
    reading: Reading = PLAINLY,
    provider: ProviderOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Show a job's output as it comes, from now on."""
    async with shell.make_atlas(timeout) as atlas:
        whom = {"endpoint": endpoint, "provider": provider}
        how = f"exatlas job cancel {job} --endpoint {endpoint}{f' --provider {provider}' if provider else ''}"
        watch = _Watch(shell, as_json=as_json, shows_chunks=True, name=job, how_to_cancel=how)
        await watch.read(atlas, job, reading, whom)


@app.command
async def cancel(
    job: JobId,
    /,
    *,
    endpoint: EndpointOption,
    provider: ProviderOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Stop a queued or running job. One that has ended already is not an error."""
    async with shell.make_atlas(timeout) as atlas:
        await atlas.cancel_job(job, endpoint=endpoint, provider=provider)
    if as_json:
        shell.json({"cancelled": job})
    else:
        shell.line(f"cancelled {job}")


@define(kw_only=True)
class _Watch:
    """One job that is read to its end, with what is shown meanwhile."""

    shell: Shell = attrs.field(kw_only=False)
    as_json: bool
    shows_chunks: bool
    name: str
    how_to_cancel: str

    async def read(self, atlas: Atlas, job: Job | str, reading: Reading, whom: dict[str, Any]) -> None:
        """Show each chunk at once, and the job at its end; whatever it ended as is raised."""
        notice = f"cancelling job {self.name}" if reading.cancel_on_exit else f"the job goes on; {self._ending}"
        on_exit: Literal["cancel", "leave"] = "cancel" if reading.cancel_on_exit else "leave"
        try:
            with self.shell.when_interrupted(f"interrupted; {notice}"), self.shell.progress(self.name) as tell:
                async with atlas.open_job_stream(
                    job, on_exit=on_exit, strict=reading.strict, decode=reading.decode, **whom
                ) as chunks:
                    async for chunk in chunks:
                        self._show(chunk, tell)
            ended = await atlas.get_job(job, **whom)
        except JobError as error:
            if self.as_json:
                self.shell.json(self._last(error.job))
            raise
        except BrokenPipeError:
            self.shell.note(f"nobody reads the output any more; {notice}")
            raise
        self._end(ended)

    @property
    def _ending(self) -> str:
        return f"cancel it with: {self.how_to_cancel}"

    def _show(self, chunk: JobChunk, tell: Callable[[str], None]) -> None:
        tell(f"{self.name}  {chunk.index + 1} chunks")
        if not self.shows_chunks:
            return
        if self.as_json:
            self.shell.json({"chunk": show.plain(chunk)})
            return
        if chunk.gap:
            self.shell.note("chunks before this one may be lost")
        self.shell.line(show.output(chunk.output))

    def _end(self, job: Job) -> None:
        if self.as_json:
            self.shell.json(self._last(job))
        elif self.shows_chunks:
            ran = "" if job.execution_time is None else f" after {show.span(job.execution_time)}"
            self.shell.note(f"job {job.id} {job.status}{ran}")
        else:
            self.shell.show(show.job(job))

    def _last(self, job: Job) -> dict[str, Any]:
        return {"job": show.plain(job)} if self.shows_chunks else show.plain(job)


def _how_to_cancel(job: Job) -> str:
    return f"exatlas job cancel {job.id} --endpoint {job.endpoint} --provider {job.provider}"


def _tell_job(job: Job, shell: Shell, *, as_json: bool) -> None:
    if as_json:
        shell.json(show.plain(job))
    else:
        shell.show(show.job(job))

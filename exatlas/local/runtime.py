"""A RunPod-compatible serverless endpoint on loopback, owner of everything it is made of."""

import asyncio
import logging
import os
import secrets
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from exatlas.errors import ConfigError
from exatlas.local.client_api import ClientApi
from exatlas.local.desk import Desk
from exatlas.local.handlers import Options
from exatlas.local.inprocess import DirectLink, run_in_process
from exatlas.local.limits import RUNPOD_LIMITS, Gate
from exatlas.local.script import WorkerKind
from exatlas.local.settings import HandlerSource, Settings, WorkerChoice
from exatlas.local.supervisor import Recipe, Supervisor
from exatlas.local.webhooks import Courier
from exatlas.local.wire import tell_faults
from exatlas.local.worker_api import WorkerApi
from exatlas.local.working import Worker
from exatlas.protocols import Clock
from exatlas.providers.runpod.queue import Queue
from exatlas.providers.runpod.submission import Rules

worker_log = logging.getLogger("exatlas.local.worker")

PROVIDER = "runpod"
LOOPBACK = "127.0.0.1"
SERVER_GRACE_S = 1.0
"""How long the server waits for requests under way when it stops; held ones are answered at once."""

QUIET_WORKER: Mapping[str, str] = {
    "RUNPOD_LOG_LEVEL": "ERROR",
    "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",  # they want 4 GB of memory and a route to the internet
    "RUNPOD_SKIP_GPU_CHECK": "true",
    "RUNPOD_PING_INTERVAL": "1000",
    "PYTHONUNBUFFERED": "1",
}
"""For worker processes, where neither the caller nor this process's environment says otherwise."""


def serve(
    handler: HandlerSource,
    *,
    endpoint: str = "local",
    workers: int = 1,
    concurrency: int = 1,
    return_aggregate_stream: bool = False,
    worker: WorkerChoice = "auto",
    port: int = 0,
    api_key: str | None = None,
    env: Mapping[str, str] | None = None,
    limits: bool = False,
    rules: Rules | None = None,
    clock: Clock | None = None,
    on_line: Callable[[str], None] | None = None,
    start_timeout: float = 60.0,
    stop_timeout: float = 5.0,
) -> "Runtime":
    """Serve one handler as RunPod would, on 127.0.0.1: ``async with serve(...) as runtime:``.

    Entering returns once every worker has asked for work; leaving ends every worker and whatever it started.

    Args:
        handler: A function (sync or async, generator or not), which runs in this process; or the path of a file. A
            file that calls `runpod.serverless.start` runs unmodified, as a process, with the `runpod` package; one
            that only defines `handler` runs as a process of exatlas' own worker.
        endpoint: The endpoint's id in URLs and calls.
        workers: How many workers share the queue.
        concurrency: Jobs at once in each worker. Files that start their own worker say it themselves.
        return_aggregate_stream: A generator's chunks are also its final output. Files, as above.
        worker: For files: who runs them, where exatlas guesses wrong.
        port: 0 takes any free one.
        api_key: What clients must present; None makes one up (`Runtime.api_key`).
        env: Variables for worker processes, on top of this process's own.
        limits: Refuse requests beyond RunPod's rate limits with 429.
        rules: Timeouts, retention and sizes; None for RunPod's, with workers that ignore a stop signal for 10 s
            replaced.
        clock: For everything that waits, except for the starting and ending of processes.
        on_line: Hears each line that worker processes print; None logs them to `exatlas.local.worker`.
        start_timeout: Seconds that workers may take until they ask for work.
        stop_timeout: Seconds that workers may take to end when asked politely. Then they are killed; in this process,
            handlers in threads are left behind.

    Raises:
        ValidationError, ConfigError: the arguments cannot work. Entering raises ConfigError when the port is taken or
            a worker does not start; the error's notes end with what it printed last.
    """
    return Runtime(
        Settings(
            handler=handler,
            endpoint=endpoint,
            workers=workers,
            concurrency=concurrency,
            return_aggregate_stream=return_aggregate_stream,
            worker=worker,
            port=port,
            api_key=api_key,
            env=env,
            limits=limits,
            rules=rules,
            clock=clock,
            on_line=on_line,
            start_timeout=start_timeout,
            stop_timeout=stop_timeout,
        )
    )


class Runtime:
    """A local endpoint. Made by :func:`serve`; an async context manager that can be entered once.

    Entering and leaving may happen in different tasks. Cancelling the leaving kills workers instead of waiting.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._token = secrets.token_urlsafe(18)
        queue = Queue(new_id=lambda: str(uuid.uuid4()), rules=settings.rules)
        self._desk = Desk(queue, settings.clock)
        self._worker_api = WorkerApi(self._desk, settings.endpoint, self._token)
        self._supervisors: list[Supervisor] = []
        self._leave = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._port: int | None = None

    def __repr__(self) -> str:
        where = self.base_url if self._port else "not started"
        return f"<Runtime of {self.endpoint} at {where}>"

    @property
    def endpoint(self) -> str:
        """The endpoint's id."""
        return self._settings.endpoint

    @property
    def provider(self) -> str:
        """The name of the provider whose endpoints this is one of."""
        return PROVIDER

    @property
    def api_key(self) -> str:
        """What clients must present."""
        return self._settings.api_key

    @property
    def base_url(self) -> str:
        """What stands before the endpoint's id in URLs, without a slash at the end. Known once entered."""
        if self._port is None:
            raise ConfigError("the local runtime has no address before it is entered: async with serve(...) as runtime")
        return f"http://{LOOPBACK}:{self._port}/v2"

    @property
    def worker_output(self) -> str:
        """The last lines that worker processes have printed."""
        return "\n".join(supervisor.tail for supervisor in self._supervisors if supervisor.tail)

    async def __aenter__(self) -> Self:
        if self._life is not None:
            raise ConfigError("a local runtime can be entered once; call serve again")
        started = asyncio.Event()
        self._life = life = asyncio.create_task(self._live(started), name="exatlas local runtime")
        waiting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait([life, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not started.is_set():
                life.result()  # raises what went wrong
        except BaseException:
            await self._end(life)
            raise
        finally:
            waiting.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._life is not None:
            await self._end(self._life)
            if not self._life.cancelled():
                self._life.result()

    async def _end(self, life: asyncio.Task[None]) -> None:
        self._leave.set()
        try:
            await asyncio.wait([life])
        except asyncio.CancelledError:
            life.cancel()
            await asyncio.wait([life])
            raise

    async def _live(self, started: asyncio.Event) -> None:
        runner = web.AppRunner(
            self._application(), handler_cancellation=True, access_log=None, shutdown_timeout=SERVER_GRACE_S
        )
        await runner.setup()
        try:
            await self._listen(runner)
            async with aiohttp.ClientSession() as session:
                courier = Courier(self._desk, session)
                try:
                    await self._work(courier, started)
                finally:
                    await courier.aclose()
        finally:
            self._desk.close()
            await runner.cleanup()

    def _application(self) -> web.Application:
        settings = self._settings
        gates = {name: Gate(limit, settings.clock) for name, limit in RUNPOD_LIMITS.items()} if settings.limits else {}
        client_api = ClientApi(self._desk, settings.endpoint, settings.api_key, gates)
        application = web.Application(middlewares=[tell_faults])
        application.add_routes([*client_api.routes(), *self._worker_api.routes()])
        return application

    async def _listen(self, runner: web.AppRunner) -> None:
        site = web.TCPSite(runner, LOOPBACK, self._settings.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {LOOPBACK}:{self._settings.port}: {error.strerror}") from error
        self._port = runner.addresses[0][1]

    async def _work(self, courier: Courier, started: asyncio.Event) -> None:
        time_keeper = asyncio.create_task(self._desk.keep_time(courier.deliver))
        workers = [asyncio.create_task(run) for run in self._workers()]
        leaving = asyncio.create_task(self._leave.wait())
        try:
            await self._wait_for_workers(workers)
            started.set()
            await asyncio.wait([leaving, time_keeper, *workers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._dismiss([leaving, time_keeper, *workers])

    def _workers(self) -> list[Any]:
        settings = self._settings
        slots = [f"{settings.endpoint}-{number}" for number in range(1, settings.workers + 1)]
        if settings.kind is None:
            return [self._in_process(slot) for slot in slots]
        recipe = Recipe(
            name=settings.handler.name,
            command=_command(settings),
            environment=self._environment,
            on_line=settings.on_line or worker_log.info,
            stop_grace_s=settings.stop_timeout,
        )
        self._supervisors = [Supervisor(slot, recipe, self._desk) for slot in slots]
        return [supervisor.run() for supervisor in self._supervisors]

    async def _in_process(self, slot: str) -> None:
        options = Options(self._settings.handler, slot, self._settings.return_aggregate_stream)
        worker = Worker(DirectLink(self._desk, slot), options, self._settings.concurrency)
        await run_in_process(worker, self._settings.stop_timeout)

    def _environment(self, worker: str) -> dict[str, str]:
        env = {**QUIET_WORKER, **os.environ, **self._settings.env}
        env.pop("RUNPOD_REALTIME_PORT", None)
        for name in ("NO_PROXY", "no_proxy"):  # the package's pings would go through a proxy otherwise
            env[name] = ",".join(filter(None, [env.get(name), LOOPBACK]))
        return {**env, **self._worker_api.environment(self.base_url, worker)}

    async def _wait_for_workers(self, workers: list[asyncio.Task[None]]) -> None:
        ready = asyncio.create_task(self._all_ready())
        try:
            waits: list[asyncio.Task[None]] = [ready, *workers]
            done, _ = await asyncio.wait(
                waits, timeout=self._settings.start_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for wait in done:
                wait.result()  # raises why a worker does not start
            if not done:
                raise ConfigError(
                    f"{self._settings.handler.name} did not ask for work within {self._settings.start_timeout:g} s"
                )
        finally:
            ready.cancel()

    async def _all_ready(self) -> None:
        for supervisor in self._supervisors:
            await supervisor.is_ready.wait()

    async def _dismiss(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Cancel all and wait; when cancelled meanwhile, cancel all again, which makes them impatient."""
        for task in tasks:
            task.cancel()
        self._desk.close()
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error


def _command(settings: Settings) -> list[str]:
    path: Path = settings.handler
    if settings.kind is WorkerKind.RUNPOD:
        return [sys.executable, str(path)]
    aggregate = ["--aggregate"] if settings.return_aggregate_stream else []
    module = [sys.executable, "-m", "exatlas.local.worker"]
    return [*module, str(path), "--concurrency", str(settings.concurrency), *aggregate]

"""The in-memory cloud behind the contract: every call travels, may fail on order, and acts in one step."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import ClassVar, Self, TypeVar

from exatlas.cancellation import Deadline
from exatlas.capabilities import Capability
from exatlas.clock import SystemClock
from exatlas.errors import AtlasError, NotFoundError
from exatlas.launch import create_once
from exatlas.protocols import Clock, Context, ProviderSettings
from exatlas.providers.memory.faults import Fault, Faults, Hold
from exatlas.providers.memory.gpus import MODELS, Model
from exatlas.providers.memory.handlers import Handler, echo
from exatlas.providers.memory.jobs import Endpoints, JobRun, WebhookDelivery
from exatlas.providers.memory.machines import Charge, Fleet, Machine
from exatlas.providers.memory.news import News
from exatlas.records.compute import Compute, ComputeFilter, ComputeRequest
from exatlas.records.gpu import GpuType
from exatlas.records.job import Job, JobChunk, JobRef, JobRequest, LogLine

T = TypeVar("T")


class MemoryProvider:
    """A whole cloud in this process, with nothing to pay: for tests, examples and first steps.

    Everything it knows lives on the instance. Ids are counted and nothing is random, so the same calls give the same
    answers. Machines and jobs of different accounts (keys) do not see each other. Jobs run the handlers given for their
    endpoints, in tasks that :meth:`aclose` ends; the client that made the instance closes it, and one that you made is
    yours to close.

    Args:
        clock: The time to live by, or None for that of the client that calls first.
        boot_s: How long a machine provisions before it runs.
        latency_s: How long each call takes, half on the way there and half on the way back.
        capacity: GPUs in total by canonical name, and CPU machines under `cpu`. Names left out never run out.
        models: What GPUs there are.
        handlers: What runs for each endpoint; `echo` is there unless it is replaced.
        workers: Jobs that run at once for each endpoint; the others queue. None is no limit.
    """

    name: ClassVar[str] = "memory"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {
        Capability.GLOBAL_NETWORKING,
        Capability.ENDPOINT_EVENTS,
    }
    settings: ClassVar[ProviderSettings] = ProviderSettings(needs_key=False)

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        boot_s: float = 0.0,
        latency_s: float = 0.0,
        capacity: Mapping[str, int] | None = None,
        models: Sequence[Model] = MODELS,
        handlers: Mapping[str, Handler] | None = None,
        workers: int | None = None,
    ) -> None:
        self._clock = clock
        self._leg_s = latency_s / 2
        self._faults = Faults()
        self._news = News()
        self._fleet = Fleet(self.name, models, capacity or {}, timedelta(seconds=boot_s))
        self._endpoints = Endpoints(self.name, {"echo": echo} | dict(handlers or {}), workers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every running handler and wait for them. Machines stay rented. Safe to repeat."""
        await self._endpoints.aclose()

    # ---- what tests turn and look at

    def serve(self, endpoint: str, handler: Handler) -> None:
        """Run the handler for the endpoint's jobs from now on."""
        self._endpoints.handlers[endpoint] = handler

    def fail_next(self, operation: str, error: Exception, *, after_acting: bool = False, times: int = 1) -> None:
        """Let the next calls of an operation end in the error: before anything is done, or with the answer lost.

        For streams, `after_acting` raises after the first item.
        """
        for _ in range(times):
            self._faults.order(operation, Fault(after_acting=after_acting, error=error))

    def hold_next(self, operation: str, *, after_acting: bool = False) -> Hold:
        """Let the next call of an operation wait until it is released: before anything is done, or afterwards."""
        hold = Hold()
        self._faults.order(operation, Fault(after_acting=after_acting, hold=hold))
        return hold

    def set_capacity(self, name: str, total: int) -> None:
        """Change how much there is of a GPU (or of `cpu`). Machines already rented stay."""
        self._fleet.capacity[name] = total

    def lose(self, compute_id: str) -> None:
        """Take a machine back, as clouds do with spot capacity: it is gone without anybody having asked."""
        self._fleet.terminate(self._known(compute_id), self._time.now())
        self._news.ring()

    def set_price(self, compute_id: str, usd_per_hour: Decimal) -> None:
        """Bill another price for a machine from now on, as markets do."""
        self._known(compute_id).reprice(usd_per_hour, self._time.now())

    def break_down(self, compute_id: str) -> None:
        """Let a machine fail. It bills until it is terminated."""
        self._known(compute_id).failed = True

    def log(self, compute_id: str, line: str, *, source: str = "container") -> None:
        """Let a machine print a line."""
        self._known(compute_id).log(self._time.now(), line, source)
        self._news.ring()

    def request_of(self, compute_id: str) -> ComputeRequest:
        """The request that a machine was rented with, environment included."""
        return self._known(compute_id).request

    def invoice(self) -> list[Charge]:
        """What every machine ever rented has cost up to now, oldest first, over all accounts."""
        return [machine.charge(self._time.now()) for machine in self._fleet.everything()]

    @property
    def rented(self) -> list[str]:
        """Ids of the machines that are not gone, over all accounts."""
        return [machine.id for machine in self._fleet.everything() if not machine.ended]

    @property
    def deliveries(self) -> list[WebhookDelivery]:
        """The webhooks that a real cloud would have called, in order."""
        return list(self._endpoints.deliveries)

    # ---- the contract

    async def spawn_compute(self, request: ComputeRequest, ctx: Context, /) -> Compute:
        """Rent one machine. See the contract."""

        def rent() -> Compute:
            machine = self._fleet.rent(request, ctx.account, ctx.launch_id, self._time.now())
            return machine.record(self._time.now())

        def look() -> Compute | None:
            return next((m for m in self._list(ctx) if ctx.launch_id and m.launch_id == ctx.launch_id), None)

        return await create_once(
            lambda: self._call("spawn_compute", ctx, rent),
            lambda: self._call("list_compute", ctx, look),
            ctx,
        )

    async def get_compute(self, compute_id: str, ctx: Context, /) -> Compute:
        """Read one machine. See the contract."""
        return await self._call(
            "get_compute", ctx, lambda: self._fleet.get(compute_id, ctx.account).record(self._time.now())
        )

    async def list_compute(self, filters: ComputeFilter, ctx: Context, /) -> list[Compute]:
        """Read the machines that pass the filter, oldest first. See the contract."""
        return await self._call(
            "list_compute", ctx, lambda: [machine for machine in self._list(ctx) if filters.admits(machine)]
        )

    async def terminate(self, compute_id: str, ctx: Context, /) -> None:
        """Destroy a machine. See the contract."""

        def end() -> None:
            try:
                self._fleet.terminate(self._fleet.get(compute_id, ctx.account), self._time.now())
            except NotFoundError:
                return
            self._news.ring()

        await self._call("terminate", ctx, end)

    async def stop(self, compute_id: str, ctx: Context, /) -> None:
        """Pause a machine. See the contract."""
        await self._call("stop", ctx, lambda: self._fleet.get(compute_id, ctx.account).switch_off(self._time.now()))

    async def start(self, compute_id: str, ctx: Context, /) -> None:
        """Resume a machine. See the contract."""
        await self._call(
            "start", ctx, lambda: self._fleet.start(self._fleet.get(compute_id, ctx.account), self._time.now())
        )

    async def list_gpu_types(self, ctx: Context, /) -> list[GpuType]:
        """Models, invented prices, and stock as far as `capacity` limits it. See the contract."""
        return await self._call("list_gpu_types", ctx, self._fleet.catalogue)

    async def run_job(self, request: JobRequest, ctx: Context, /) -> Job:
        """Submit a job; in `sync` mode wait for its end. See the contract."""

        def submit() -> JobRun:
            return self._endpoints.submit(request, ctx.account, self._time)

        if request.mode == "async":
            return await self._call("run_job", ctx, lambda: submit().record())
        run = await self._call("run_job", ctx, submit)
        patience = Deadline(self._time, None if request.timeout is None else request.timeout.total_seconds())
        try:
            async with patience:
                await run.settled()
        except TimeoutError:
            return run.record()
        return run.record()

    async def get_job(self, job: JobRef, ctx: Context, /) -> Job:
        """Read one job. See the contract."""
        return await self._call("get_job", ctx, lambda: self._endpoints.get(job, ctx.account).record())

    async def cancel_job(self, job: JobRef, ctx: Context, /) -> None:
        """Stop a job; its handler is cancelled. See the contract."""
        await self._call("cancel_job", ctx, lambda: self._endpoints.cancel(self._endpoints.get(job, ctx.account)))

    async def stream_job(self, job: JobRef, ctx: Context, /) -> AsyncGenerator[JobChunk, None]:
        """Yield every chunk from the first, however late the reader comes: nothing is ever lost here."""
        fault = await self._set_out("stream_job", ctx)
        run = self._located(lambda: self._endpoints.get(job, ctx.account), "stream_job")
        position = 0
        while True:
            while position < len(run.chunks):
                yield run.chunks[position]
                position += 1
                if fault is not None:
                    await fault.strike()
                    fault = None
            self._located(lambda: self._endpoints.get(job, ctx.account), "stream_job")
            if run.status.is_terminal:
                break
            await run.news.wait()
        error = run.error()
        if error is not None:
            raise error

    async def stream_logs(
        self, compute_id: str, ctx: Context, /, *, tail: int | None, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """Yield what :meth:`log` was told, oldest first; all of it for `tail=None`. Ends when the machine is gone."""
        fault = await self._set_out("stream_logs", ctx)
        machine = self._located(lambda: self._fleet.get(compute_id, ctx.account), "stream_logs")
        position = 0 if tail is None else max(0, len(machine.lines) - tail)
        while True:
            while position < len(machine.lines):
                yield machine.lines[position]
                position += 1
                if fault is not None:
                    await fault.strike()
                    fault = None
            if machine.ended or not follow:
                return
            await self._news.wait()

    # ---- how a call travels

    async def _call(self, operation: str, ctx: Context, act: Callable[[], T]) -> T:
        """One request and its answer, with the order for trouble carried out."""
        fault = await self._set_out(operation, ctx)
        result = self._located(act, operation)
        await self._time.sleep(self._leg_s)
        if fault is not None:
            await fault.strike()
        return result

    async def _set_out(self, operation: str, ctx: Context) -> Fault | None:
        """The way there. Gives the fault that is due after acting."""
        if self._clock is None:
            self._clock = ctx.clock
        fault = self._faults.take(operation)
        await self._time.sleep(self._leg_s)
        if fault is not None and not fault.after_acting:
            await fault.strike()
            return None
        return fault

    def _located(self, act: Callable[[], T], operation: str) -> T:
        """Act, and fill in where an error happened."""
        try:
            return act()
        except AtlasError as error:
            error.provider, error.operation = self.name, operation
            raise

    def _list(self, ctx: Context) -> list[Compute]:
        now = self._time.now()
        return [machine.record(now) for machine in self._fleet.all(ctx.account)]

    def _known(self, compute_id: str) -> Machine:
        for machine in self._fleet.everything():
            if machine.id == compute_id:
                return machine
        raise NotFoundError(f"no compute {compute_id!r} was ever rented here", provider=self.name)

    @property
    def _time(self) -> Clock:
        return self._clock or _REAL


_REAL = SystemClock()

"""Waits until a machine is good for what it was rented for, and says why not when it is not."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, evolve, field, frozen

from exatlas.cancellation import Deadline
from exatlas.client import arguments, reach
from exatlas.client.aftermath import Machine, end, explain, no_image
from exatlas.client.course import Course
from exatlas.errors import (
    AtlasError,
    ConfigError,
    ForbiddenError,
    NotFoundError,
    NotReadyError,
    NotReadyReason,
    UnauthorizedError,
    UnsupportedError,
    ValidationError,
)
from exatlas.protocols import Clock
from exatlas.records import checks
from exatlas.records.compute import Compute, ComputeStatus

OPERATION = "wait_until_ready"
LEVELS = ("running", "ports", "tcp", "http")
TIMEOUT_S = 1800.0
DUD_AFTER_S = 1500.0
"""Machines with eight GPUs have been seen to boot for 25 minutes."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0
PATIENCE = 10
"""A pause is the time waited so far, divided by this: what has taken long is looked at less often."""

_HOPELESS = (ConfigError, UnsupportedError, ValidationError, UnauthorizedError, ForbiddenError)


@frozen(kw_only=True)
class Wishes:
    """What ready means, and how long it may take."""

    level: str = "running"
    port: int | None = None
    path: str = "/"
    probe: Callable[[Compute], Awaitable[bool]] | None = None
    timeout_s: float = TIMEOUT_S
    dud_after_s: float | None = DUD_AFTER_S
    with_logs: bool = False
    terminate_on_failure: bool = False
    on_look: Callable[[Compute], object] = field(default=lambda _: None)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Wishes":
        """What a caller's keywords say.

        Raises:
            ValidationError: some of them cannot be.
        """
        own = ("level", "port", "path", "probe", "timeout", "dud_after", "with_logs", "terminate_on_failure", "on_look")
        given = arguments.split(OPERATION, options, *own, call=arguments.ACCOUNT)
        arguments.check(
            OPERATION,
            level=checks.member(*LEVELS)(given.get("level", "running")),
            port=checks.optional(checks.whole(1))(given.get("port")),
            path=_path_fault(given.get("path", "/")),
            probe=_call_fault(given.get("probe")),
            with_logs=checks.flag(given.get("with_logs", False)),
            terminate_on_failure=checks.flag(given.get("terminate_on_failure", False)),
            on_look=_call_fault(given.get("on_look")),
        )
        timeout_s = arguments.seconds(OPERATION, given.pop("timeout", TIMEOUT_S))
        dud_after_s = arguments.seconds(OPERATION, given.pop("dud_after", DUD_AFTER_S), "dud_after")
        if timeout_s is None:
            arguments.check(
                OPERATION, timeout="expected a positive timedelta or number of seconds; nothing waits for ever"
            )
        if given.get("on_look") is None:
            given.pop("on_look", None)
        return cls(timeout_s=timeout_s or TIMEOUT_S, dud_after_s=dud_after_s, **given)


async def wait(machine: Machine, wanted: Wishes, clock: Clock) -> Compute:
    """See :meth:`exatlas.Atlas.wait_until_ready`."""
    try:
        compute = await _Waiting.begin(machine, wanted, clock).run()
    except Exception as error:
        if isinstance(error, NotReadyError) and wanted.with_logs:
            await explain(error, machine, clock)
        if wanted.terminate_on_failure:
            await end(machine, error, clock)
        raise
    auth = machine.given.auth if machine.given else None
    return evolve(compute, auth=auth) if auth else compute


@define
class _Waiting:
    machine: Machine
    wanted: Wishes
    clock: Clock
    course: Course
    lacking: str = "no look got through"
    """What is still missing, in words."""
    trouble: AtlasError | None = None
    """What the last look met."""

    @classmethod
    def begin(cls, machine: Machine, wanted: Wishes, clock: Clock) -> "_Waiting":
        return cls(machine, wanted, clock, Course(clock.monotonic(), wanted.dud_after_s, last=machine.given))

    async def run(self) -> Compute:
        deadline = Deadline(self.clock, self.wanted.timeout_s)
        try:
            async with deadline:
                return await self._ready()
        except TimeoutError:
            if not deadline.expired:
                raise
        raise self._error(NotReadyReason.TIMEOUT) from self.trouble

    async def _ready(self) -> Compute:
        while True:
            compute, advised_s = await self._look()
            if compute is not None and compute.status is ComputeStatus.RUNNING:
                lacking = await self._lacks(compute)
                if lacking is None:
                    return compute
                self.lacking = lacking
            await self.clock.sleep(max(self._pause_s(), advised_s))

    async def _look(self) -> tuple[Compute | None, float]:
        """Read it once: the machine, or None where that did not work; and how long the cloud asks to wait."""
        try:
            compute = await self.machine.provider.get_compute(self.machine.id, await self.machine.contexts())
        except NotFoundError as error:
            self.trouble, self.lacking = error, "the cloud does not know it"
            self._give_up_for(self.course.missed(self.clock.monotonic()))
            return None, 0.0
        except AtlasError as error:
            if isinstance(error, _HOPELESS) and not error.retryable:
                raise
            self.trouble, self.lacking = error, f"it cannot be read: {error}"
            return None, error.retry_after or 0.0
        self.trouble, self.lacking = None, f"it is {compute.status}"
        self.wanted.on_look(compute)
        self._give_up_for(self.course.saw(compute, self.clock.monotonic()))
        return compute, 0.0

    def _give_up_for(self, reason: NotReadyReason | None) -> None:
        if reason is not None:
            raise self._error(reason) from self.trouble

    async def _lacks(self, compute: Compute) -> str | None:
        """What a running machine lacks to be ready, or None."""
        wanted, lacking = self.wanted, None
        if wanted.level == "ports":
            lacking = reach.unmapped(compute, self.machine.given)
        elif wanted.level == "tcp":
            lacking = await reach.tcp(compute, wanted.port)
        elif wanted.level == "http" and wanted.probe is None:
            ctx = await self.machine.contexts()
            lacking = await reach.http(compute, wanted.port, wanted.path, ctx.transport)
        if lacking is not None or wanted.probe is None:
            return lacking
        try:
            return None if await wanted.probe(compute) else "the probe says no"
        except (AtlasError, OSError) as error:  # TimeoutError is an OSError
            return f"the probe raised {type(error).__name__}"

    def _pause_s(self) -> float:
        since = self.course.began if self.course.running_since is None else self.course.running_since
        return min(max((self.clock.monotonic() - since) / PATIENCE, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)

    def _error(self, reason: NotReadyReason) -> NotReadyError:
        goes_on = "" if reason is NotReadyReason.GONE else "; it goes on and bills"
        return NotReadyError(
            f"compute {self.machine.id!r} is not ready: {self._why(reason)}"
            f"{'' if self.wanted.terminate_on_failure else goes_on}",
            reason=reason,
            compute=self.course.last,
            retryable=reason is NotReadyReason.TIMEOUT and not self.wanted.terminate_on_failure,
            provider=self.machine.provider.name,
            operation=OPERATION,
        )

    def _why(self, reason: NotReadyReason) -> str:
        last = self.course.last
        match reason:
            case NotReadyReason.IMAGE_PULL:
                return no_image(last)
            case NotReadyReason.CRASH_LOOP:
                return f"it has stopped running {self.course.falls} times; look at its logs"
            case NotReadyReason.DUD_HOST:
                return f"it is {last.status if last else 'unknown'} after {self.wanted.dud_after_s:g} s; rent another"
            case NotReadyReason.FAILED if not self.course.has_run:
                return "it has failed before it ever ran; its image may not exist"
            case NotReadyReason.FAILED | NotReadyReason.STOPPED | NotReadyReason.GONE:
                return {"failed": "it has failed", "stopped": "it is stopped", "gone": "it is gone"}[reason]
            case NotReadyReason.TIMEOUT:
                return f"not {self.wanted.level} within {self.wanted.timeout_s:g} s, because {self.lacking}"


def _path_fault(path: object) -> str | None:
    if isinstance(path, str) and path.startswith("/") and path.isascii() and path.isprintable() and " " not in path:
        return None
    return f"expected a path such as '/health', {checks.given(path)}"


def _call_fault(thing: object) -> str | None:
    return None if thing is None or callable(thing) else f"expected a function of one Compute, {checks.given(thing)}"

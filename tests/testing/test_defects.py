"""The conformance suite is only worth what it catches: seeded defects, each caught by the check that names its rule."""

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

import pytest
from attrs import evolve

from exatlas.capabilities import Capability
from exatlas.errors import (
    AtlasError,
    ConflictError,
    JobError,
    NoCapacityError,
    NotFoundError,
    OutcomeUnknownError,
    TransportError,
    UnauthorizedError,
    UnsupportedError,
)
from exatlas.providers.memory.case import case as memory_case
from exatlas.providers.memory.provider import MemoryProvider
from exatlas.providers.runpod import case as runpod
from exatlas.providers.runpod.provider import RunPodProvider
from exatlas.records.compute import ComputeFilter, ComputeStatus
from exatlas.testing.conformance import CHECKS
from exatlas.testing.conformance.report import Verdict
from exatlas.testing.conformance.runner import judge

BY_NAME = {check.name: check for check in CHECKS}
DEFECTS = []


def caught_by(*checks):
    """Registers a defective provider with the checks that must catch it."""

    def register(cls):
        DEFECTS.extend(pytest.param(cls, check, id=f"{cls.__name__}-{check}") for check in checks)
        return cls

    return register


def without(capability):
    return frozenset(MemoryProvider.capabilities - {capability})


# ---- what it declares and has


@caught_by("declares_name_settings_and_capabilities")
class InventsACapability(MemoryProvider):
    capabilities = frozenset({"telepathy", *MemoryProvider.capabilities})


@caught_by("has_what_it_declares")
class DeclaresLogsItLacks(MemoryProvider):
    stream_logs = None


@caught_by("declares_what_it_has")
class HasLogsItDoesNotDeclare(MemoryProvider):
    capabilities = without(Capability.LOGS)


@caught_by("has_every_required_operation")
class TerminatesWithoutACoroutine(MemoryProvider):
    def terminate(self, compute_id, ctx, /):
        return super().terminate(compute_id, ctx)


@caught_by("honours_declared_fields_or_says_why_not")
class DeclaresSpotAndRefusesIt(MemoryProvider):
    async def spawn_compute(self, request, ctx, /):
        if request.spot:
            raise UnsupportedError("no spot here", capability="spot")
        return await super().spawn_compute(request, ctx)


@caught_by("does_not_drop_what_no_cloud_field_can_hold")
class DropsUdpPorts(MemoryProvider):
    async def spawn_compute(self, request, ctx, /):
        ports = [port for port in request.ports if port.protocol != "udp"]
        return await super().spawn_compute(evolve(request, ports=ports), ctx)


# ---- machines


@caught_by("spawns_one_machine")
class RentsTwo(MemoryProvider):
    async def spawn_compute(self, request, ctx, /):
        await super().spawn_compute(request, ctx)
        return await super().spawn_compute(request, ctx)


class Changed(MemoryProvider):
    """Records of machines come out changed."""

    def change(self, compute):
        return compute

    async def spawn_compute(self, request, ctx, /):
        return self.change(await super().spawn_compute(request, ctx))

    async def get_compute(self, compute_id, ctx, /):
        return self.change(await super().get_compute(compute_id, ctx))

    async def list_compute(self, filters, ctx, /):
        return [self.change(compute) for compute in await super().list_compute(filters, ctx)]


@caught_by("spawns_one_machine", "reads_the_machine_back")
class NamesAnotherProvider(Changed):
    def change(self, compute):
        return evolve(compute, provider="elsewhere")


@caught_by("spawns_one_machine", "spawns_another_machine_each_time")
class ForgetsTheLaunchId(Changed):
    def change(self, compute):
        return evolve(compute, launch_id=None)


@caught_by("spawns_one_machine")
class CallsAFreshMachineFailed(Changed):
    def change(self, compute):
        return evolve(compute, status=ComputeStatus.FAILED)


@caught_by("gives_well_formed_records")
class CountsMoneyInFloats(Changed):
    def change(self, compute):
        return evolve(compute, cost_usd_per_hour=0.44)


@caught_by("gives_well_formed_records")
class StampsLocalTime(Changed):
    def change(self, compute):
        return evolve(compute, created_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the defect


@caught_by("gives_well_formed_records")
class KeepsUnserialisableRaw(Changed):
    def change(self, compute):
        return evolve(compute, raw={"when": object()})


@caught_by("records_hide_secrets")
class KeepsEnvInRaw(Changed):
    def change(self, compute):
        return evolve(compute, raw={"env": dict(self.request_of(compute.id).env)})


@caught_by("a_minted_token_is_given_once")
class KeepsTheTokenInRaw(Changed):
    def change(self, compute):
        return evolve(compute, raw={"token": self.request_of(compute.id).env.get("EXATLAS_PRESHARED_KEY")})


@caught_by("becomes_running")
class NeverRuns(Changed):
    def change(self, compute):
        return evolve(compute, status=ComputeStatus.PROVISIONING)


@caught_by("reads_the_machine_back", "filters_by_status_region_and_gpu")
class ReadsTheFirstMachineWhateverIsAsked(MemoryProvider):
    async def get_compute(self, compute_id, ctx, /):
        found = await super().get_compute(compute_id, ctx)
        return evolve(found, id="mem-000000", region="elsewhere", launch_id="0" * 12)


@caught_by("lists_over_all_pages", "lists_what_is_rented")
class StopsAfterTheFirstPage(MemoryProvider):
    async def list_compute(self, filters, ctx, /):
        return (await super().list_compute(filters, ctx))[:1]


@caught_by("lists_what_is_rented")
class ListsTwice(MemoryProvider):
    async def list_compute(self, filters, ctx, /):
        return 2 * await super().list_compute(filters, ctx)


@caught_by("filters_by_name", "filters_by_status_region_and_gpu")
class DropsFilters(MemoryProvider):
    async def list_compute(self, filters, ctx, /):
        return await super().list_compute(ComputeFilter(), ctx)


@caught_by("filters_by_status_region_and_gpu")
class DropsTheRegionFilter(MemoryProvider):
    async def list_compute(self, filters, ctx, /):
        return await super().list_compute(evolve(filters, region=None), ctx)


@caught_by("terminates", "a_cancelled_spawn_leaves_nothing", "a_cancelled_rent_leaves_nothing")
class DoesNotTerminate(MemoryProvider):
    async def terminate(self, compute_id, ctx, /):
        pass


@caught_by("terminates")
class TerminatesEverything(MemoryProvider):
    async def terminate(self, compute_id, ctx, /):
        for machine in await super().list_compute(ComputeFilter(), ctx):
            await super().terminate(machine.id, ctx)


@caught_by("terminating_twice_is_silence")
class ComplainsWhenTerminatingTwice(MemoryProvider):
    async def terminate(self, compute_id, ctx, /):
        await super().get_compute(compute_id, ctx)
        await super().terminate(compute_id, ctx)


@caught_by("a_terminated_machine_is_gone")
class KeepsTheDeadAlive(MemoryProvider):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.seen = {}

    async def spawn_compute(self, request, ctx, /):
        compute = await super().spawn_compute(request, ctx)
        self.seen[compute.id] = compute
        return compute

    async def get_compute(self, compute_id, ctx, /):
        return self.seen[compute_id]


@caught_by("an_unknown_machine_is_not_found")
class RaisesKeyErrors(MemoryProvider):
    async def get_compute(self, compute_id, ctx, /):
        try:
            return await super().get_compute(compute_id, ctx)
        except NotFoundError:
            raise KeyError(compute_id) from None


@caught_by("stops_and_starts")
class IgnoresStop(MemoryProvider):
    async def stop(self, compute_id, ctx, /):
        pass


@caught_by("stops_and_starts")
class ComplainsWhenStoppingTwice(MemoryProvider):
    async def stop(self, compute_id, ctx, /):
        if (await super().get_compute(compute_id, ctx)).status is ComputeStatus.STOPPED:
            raise ConflictError("it is stopped already")
        await super().stop(compute_id, ctx)


@caught_by("a_stopped_machine_can_be_terminated")
class LeavesStoppedMachines(MemoryProvider):
    async def terminate(self, compute_id, ctx, /):
        found = [each for each in await super().list_compute(ComputeFilter(), ctx) if each.id == compute_id]
        if not found or found[0].status is not ComputeStatus.STOPPED:
            await super().terminate(compute_id, ctx)


@caught_by("shows_a_catalogue")
class PricesInFloats(MemoryProvider):
    async def list_gpu_types(self, ctx, /):
        return [
            evolve(gpu, price_usd_per_hour=float(gpu.price_usd_per_hour)) for gpu in await super().list_gpu_types(ctx)
        ]


@caught_by("reads_logs")
class ReadsLogsBackwards(MemoryProvider):
    async def stream_logs(self, compute_id, ctx, /, *, tail, follow):
        lines = [line async for line in super().stream_logs(compute_id, ctx, tail=tail, follow=follow)]
        for line in reversed(lines):
            yield line


# ---- trouble


@caught_by("no_capacity_is_told_as_such")
class HasNoWordForCapacity(MemoryProvider):
    async def spawn_compute(self, request, ctx, /):
        try:
            return await super().spawn_compute(request, ctx)
        except NoCapacityError as error:
            raise ConflictError(error.message) from error


@caught_by("a_create_that_ends_in_drop_after_is_settled", "a_create_that_ends_in_stall_after_is_settled")
class SendsALostCreateAgain(MemoryProvider):
    async def spawn_compute(self, request, ctx, /):
        try:
            return await self._call("spawn_compute", ctx, partial(self._rent, request, ctx))
        except TransportError:
            return await self._call("spawn_compute", ctx, partial(self._rent, request, ctx))

    def _rent(self, request, ctx):
        now = ctx.clock.now()
        return self._fleet.rent(request, ctx.account, ctx.launch_id, now).record(now)


@caught_by("a_create_that_ends_in_error_after_is_settled", "an_unsettled_create_names_its_mark")
class GivesUpOnALostCreate(SendsALostCreateAgain):
    async def spawn_compute(self, request, ctx, /):
        return await self._call("spawn_compute", ctx, partial(self._rent, request, ctx))


@caught_by("an_unsettled_create_names_its_mark")
class DoubtsWithoutAMark(MemoryProvider):
    async def spawn_compute(self, request, ctx, /):
        try:
            return await super().spawn_compute(request, ctx)
        except OutcomeUnknownError as error:
            raise OutcomeUnknownError(error.message) from error


@caught_by("looking_survives_passing_trouble")
class LooksOnce(SendsALostCreateAgain):
    async def spawn_compute(self, request, ctx, /):
        try:
            return await self._call("spawn_compute", ctx, partial(self._rent, request, ctx))
        except AtlasError:
            return (await super().list_compute(ComputeFilter(), ctx))[0]


@caught_by("a_cancelled_spawn_leaves_nothing")
class RentsBehindTheCallersBack(MemoryProvider):
    async def spawn_compute(self, request, ctx, /):
        self.going_on = asyncio.create_task(super().spawn_compute(request, ctx))
        await ctx.clock.sleep(1)
        self.another = asyncio.create_task(super().spawn_compute(request, ctx))
        return await self.going_on


@caught_by("cancelled_reads_leave_no_task")
class LeavesTasksBehind(MemoryProvider):
    async def get_compute(self, compute_id, ctx, /):
        self.watching = asyncio.create_task(asyncio.Event().wait())
        return await super().get_compute(compute_id, ctx)


# ---- jobs


@caught_by("a_failed_job_is_no_normal_end", "a_cancelled_job_is_no_normal_end")
class EndsEveryStreamNormally(MemoryProvider):
    async def stream_job(self, job, ctx, /):
        try:
            async for chunk in super().stream_job(job, ctx):
                yield chunk
        except JobError:
            return


@caught_by("streams_every_chunk_in_order")
class SkipsTheFirstChunk(MemoryProvider):
    async def stream_job(self, job, ctx, /):
        async for chunk in super().stream_job(job, ctx):
            if chunk.index:
                yield chunk


@caught_by("streams_every_chunk_in_order")
class RepeatsChunks(MemoryProvider):
    async def stream_job(self, job, ctx, /):
        async for chunk in super().stream_job(job, ctx):
            yield chunk
            yield chunk


@caught_by("streams_every_chunk_in_order")
class CountsFromOne(MemoryProvider):
    async def stream_job(self, job, ctx, /):
        async for chunk in super().stream_job(job, ctx):
            yield evolve(chunk, index=chunk.index + 1)


@caught_by("streams_every_chunk_in_order")
class CriesGap(MemoryProvider):
    async def stream_job(self, job, ctx, /):
        async for chunk in super().stream_job(job, ctx):
            yield evolve(chunk, gap=True)


@caught_by("a_stream_that_is_left_can_be_opened_again", "several_readers_see_the_same_chunks")
class HandsEachChunkOutOnce(MemoryProvider):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.given = set()

    async def stream_job(self, job, ctx, /):
        async for chunk in super().stream_job(job, ctx):
            if chunk.index not in self.given and chunk.index != 2:
                self.given.add(chunk.index)
                yield chunk


@caught_by("submits_a_job")
class ForgetsTheEndpoint(MemoryProvider):
    async def run_job(self, request, ctx, /):
        return evolve(await super().run_job(request, ctx), endpoint="elsewhere")


@caught_by("cancelling_a_finished_job_is_silence")
class ComplainsWhenCancellingTwice(MemoryProvider):
    async def cancel_job(self, job, ctx, /):
        if (await super().get_job(job, ctx)).status.is_terminal:
            raise ConflictError("it has ended already")
        await super().cancel_job(job, ctx)


@caught_by("an_unknown_job_is_not_found")
class StreamsNothingOfUnknownJobs(MemoryProvider):
    async def stream_job(self, job, ctx, /):
        try:
            async for chunk in super().stream_job(job, ctx):
                yield chunk
        except NotFoundError:
            return


@caught_by("a_sync_job_gives_its_end")
class NeverWaits(MemoryProvider):
    async def run_job(self, request, ctx, /):
        return await super().run_job(evolve(request, mode="async"), ctx)


@pytest.mark.parametrize(("defect", "check"), DEFECTS)
async def test_a_defect_is_caught(defect, check):
    result = await judge(lambda: memory_case(defect), BY_NAME[check])
    assert result.verdict is Verdict.FAILED, result
    healthy = await judge(memory_case, BY_NAME[check])
    assert healthy.verdict is Verdict.PASSED, healthy


# ---- defects of what travels, on RunPod


class Twisted:
    """RunPod's transport with a twist."""

    def __init__(self, inner):
        self.inner = inner

    async def send(self, call, /):
        return await self.inner.send(call)

    async def open(self, call, /):
        return await self.inner.open(call)

    async def aclose(self):
        await self.inner.aclose()


class RepeatsEveryCall(Twisted):
    async def send(self, call, /):
        try:
            return await self.inner.send(call)
        except TransportError:
            return await self.inner.send(call)


class ForgetsToRepeat(RunPodProvider):
    async def _once(self, operation, *arguments):
        *rest, ctx = arguments
        return await getattr(RunPodProvider, operation)(self, *rest, evolve(ctx, transport=Once(ctx.transport)))

    async def spawn_compute(self, request, ctx, /):
        return await self._once("spawn_compute", request, ctx)

    async def get_compute(self, compute_id, ctx, /):
        return await self._once("get_compute", compute_id, ctx)

    async def terminate(self, compute_id, ctx, /):
        return await self._once("terminate", compute_id, ctx)


class Once(Twisted):
    """Refuses to let anything be sent again: a call that fails, fails for good."""

    async def send(self, call, /):
        try:
            reply = await self.inner.send(call)
        except TransportError as error:
            raise TransportError(error.message, retryable=False) from error
        if reply.status in (429, 500):
            raise ConflictError("refused for good", status=reply.status)
        return reply


class TellsTheKey(RunPodProvider):
    async def list_compute(self, filters, ctx, /):
        try:
            return await super().list_compute(filters, ctx)
        except AtlasError as error:
            raise UnauthorizedError(f"{error.message} (sent with {ctx.api_key})", provider=self.name) from error


class TellsIdsToHooks(RunPodProvider):
    async def get_compute(self, compute_id, ctx, /):
        return await super().get_compute(compute_id, evolve(ctx, transport=Revealing(ctx)))


class Revealing(Twisted):
    def __init__(self, ctx):
        super().__init__(ctx.transport)
        self.hooks = ctx.hooks

    async def send(self, call, /):
        object.__setattr__(call, "template", call.url)
        return await self.inner.send(call)


class SwallowsRefusals(RunPodProvider):
    async def list_compute(self, filters, ctx, /):
        try:
            return await super().list_compute(filters, ctx)
        except AtlasError:
            return []


@asynccontextmanager
async def runpod_case(provider=RunPodProvider, transport=None):
    async with runpod.case() as given:
        options = dict(given.options)
        if transport:
            options["transport"] = transport(options["transport"])
        yield evolve(given, provider=provider(), options=options)


TRAVELLING = [
    (partial(runpod_case, transport=RepeatsEveryCall), "a_create_that_ends_in_drop_after_is_settled"),
    (partial(runpod_case, ForgetsToRepeat), "a_clear_refusal_is_tried_again"),
    (partial(runpod_case, ForgetsToRepeat), "reads_survive_passing_trouble"),
    (partial(runpod_case, ForgetsToRepeat), "terminate_survives_passing_trouble"),
    (partial(runpod_case, TellsTheKey), "a_wrong_key_is_told_as_such"),
    (partial(runpod_case, TellsTheKey), "errors_after_error_before_hide_secrets"),
    (partial(runpod_case, TellsIdsToHooks), "request_records_hide_secrets_and_ids"),
    (partial(runpod_case, SwallowsRefusals), "lasting_refusals_are_told"),
    (partial(runpod_case, SwallowsRefusals), "a_wrong_key_is_told_as_such"),
]


@pytest.mark.parametrize(("opened", "check"), TRAVELLING)
async def test_a_defect_of_what_travels_is_caught(opened, check):
    result = await judge(opened, BY_NAME[check])
    assert result.verdict is Verdict.FAILED, result
    healthy = await judge(runpod_case, BY_NAME[check])
    assert healthy.verdict is Verdict.PASSED, healthy


def test_there_are_enough_of_them():
    assert len({defect.values[0] for defect in DEFECTS}) + len(TRAVELLING) >= 50

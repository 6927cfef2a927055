"""What RunPod says, in our words. Pure: a reply or a decoded object in, records out.

Every field but an id is optional when read: the served API moves faster than its document. A field of the wrong type
is a ReplyShapeError with its path. `raw` keeps the body without environment values, job inputs and webhooks.

Source: `Pod`, `GpuType` and the log event of REST v2; runpod/docs `serverless/endpoints/operation-reference.mdx` and
captures of the runtime, read 2026-11-23.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import orjson
from attrs import frozen

from exatlas.errors import ReplyShapeError
from exatlas.launch import launch_of
from exatlas.messages import HttpReply
from exatlas.providers.runpod import gpus, words
from exatlas.records.compute import Compute, ComputeStatus, PortBinding, SshAccess
from exatlas.records.gpu import GpuType
from exatlas.records.job import Job, JobFault, JobStatus, LogLine
from exatlas.streaming.pages import PollItem, PollPage
from exatlas.transport.redact import REDACTED
from exatlas.transport.shape import Fields, body_of
from exatlas.transport.sse import SseEvent

T = TypeVar("T")

SYMMETRIC_FROM = 70000
"""A TCP port from here up asks for equal numbers inside and outside; RunPod chooses them."""
PLACEHOLDER_GPUS = {"", "unknown"}

_EXCEPTION = re.compile(r"<class '([^']+)'>")


def compute(pod: Fields, provider: str) -> Compute:
    """One pod."""
    pod_id = pod.required_text("id")
    name = pod.text("name")
    gpu = pod.object("gpu")
    cpu = pod.object("cpu")
    machine = cpu or gpu
    gpu_native = gpu.text("id") if gpu else None
    mapped = _mapped(pod)
    word = pod.text("status")
    return Compute(
        id=pod_id,
        provider=provider,
        status=words.pod_status(word) if word else ComputeStatus.UNKNOWN,
        name=name,
        launch_id=launch_of(name),
        image=pod.text("image"),
        gpu_type=gpus.canonical(gpu_native),
        gpu_native=gpu_native,
        gpu_count=_gpu_count(gpu),
        cpus=machine.whole("vcpuCount") if machine else None,
        memory_gb=machine.number("memory") if machine else None,
        cost_usd_per_hour=pod.decimal("cost"),
        region=pod.text("dataCenterId"),
        public_ip=next((port.ip for port in mapped if port.ip), None),
        ports=_bindings(pod_id, pod.texts("ports"), mapped),
        ssh=_ssh(pod),
        created_at=pod.instant("createdAt"),
        raw=without_env(pod.raw),
    )


def without_env(body: dict[str, Any]) -> dict[str, Any]:
    """A body whose variables keep their names and lose their values."""
    env = body.get("env")
    return {**body, "env": dict.fromkeys(env, REDACTED)} if env and isinstance(env, dict) else body


def _gpu_count(gpu: Fields | None) -> int:
    """RunPod's default is one; a pod that came back from a stop without GPUs says zero."""
    if gpu is None:
        return 0
    count = gpu.whole("count")
    return 1 if count is None else count


@frozen
class _Mapped:
    """A TCP port as the host maps it."""

    private: int | None
    public: int | None
    ip: str | None


def _mapped(pod: Fields) -> list[_Mapped]:
    """The live TCP mapping. An http entry's address is internal to RunPod and of no use outside."""
    runtime = pod.object("runtime")
    if runtime is None:
        return []
    return [
        _Mapped(port.whole("private"), port.whole("public"), port.text("ip"))
        for port in runtime.objects("ports")
        if (port.text("type") or "").lower() == "tcp"
    ]


def _bindings(pod_id: str, declared: Sequence[str], mapped: Sequence[_Mapped]) -> tuple[PortBinding, ...]:
    """The declared ports, each with what is mapped to it by now."""
    if not declared:
        return ()
    by_private = {port.private: port for port in mapped}
    split = [port for text in declared if (port := _declared(text))]
    asked = {number for number, _ in split}
    spare = [port for port in mapped if port.private not in asked and port.private == port.public]
    bindings = []
    for number, protocol in split:
        if protocol == "http":
            bindings.append(PortBinding(internal=number, protocol="http", url=proxy_url(pod_id, number)))
        elif protocol != "tcp":
            bindings.append(PortBinding(internal=number, protocol=protocol))
        elif number >= SYMMETRIC_FROM and number not in by_private and spare:
            bindings.append(_tcp(number, spare.pop(0)))
        else:
            bindings.append(_tcp(number, by_private.get(number)))
    return tuple(bindings)


def _declared(text: str) -> tuple[int, str] | None:
    number, _, protocol = text.partition("/")
    return (int(number), protocol.lower()) if number.isdecimal() and protocol else None


def _tcp(number: int, port: _Mapped | None) -> PortBinding:
    if port is None or port.public is None or not port.ip:
        return PortBinding(internal=number, protocol="tcp")
    inside = number if port.private is None else port.private
    host = f"[{port.ip}]" if ":" in port.ip else port.ip
    return PortBinding(internal=inside, external=port.public, protocol="tcp", url=f"tcp://{host}:{port.public}")


def proxy_url(pod_id: str, port: int) -> str:
    """Where an http port is reached: public, HTTPS only, cut after 100 s without a byte."""
    return f"https://{pod_id}-{port}.proxy.runpod.net"


def _ssh(pod: Fields) -> SshAccess | None:
    """The direct way in where there is one, else RunPod's proxy."""
    ssh = pod.object("ssh")
    if ssh is None:
        return None
    way = ssh.object("direct") or ssh.object("proxy")
    host = way.text("host") if way else None
    if way is None or not host:
        return None
    port = way.whole("port")
    return SshAccess(
        host=host,
        port=22 if port is None else port,
        username=way.text("username") or "root",
        command=way.text("command"),
    )


def has_no_gpus(pod: Fields) -> bool:
    """Whether a GPU pod came back from a stop without any."""
    gpu = pod.object("gpu")
    return gpu is not None and gpu.whole("count") == 0


def listed(reply: HttpReply, key: str, read: Callable[[Fields], T]) -> tuple[list[T], str | None]:
    """One page of a list, and the cursor of the next or None. Servers without paging send no `pagination` at all."""
    body = body_of(reply)
    if key not in body.raw:
        raise ReplyShapeError(f"the reply has no {key!r}", paths=[f"{body.path}.{key}"])
    pagination = body.object("pagination")
    more = pagination is not None and pagination.flag("hasNextPage")
    return [read(item) for item in body.objects(key)], pagination.text("nextCursor") if more and pagination else None


def gpu_types(reply: HttpReply, cloud: str, provider: str) -> list[GpuType]:
    """The types one cloud offers, with that cloud's price and the stock that was asked for."""
    types, _ = listed(reply, "gpus", lambda item: item)
    offered = [item for item in types if (item.text("id") or "").strip() not in PLACEHOLDER_GPUS]
    return [_gpu_type(item, cloud, provider) for item in offered if item.flag(cloud) is not False]


def _gpu_type(item: Fields, cloud: str, provider: str) -> GpuType:
    gpu_id = item.required_text("id")
    prices = item.object("price")
    price: Decimal | None = prices.decimal(cloud) if prices else None
    return GpuType(
        id=gpu_id,
        provider=provider,
        canonical=gpus.canonical(gpu_id),
        display_name=item.text("name"),
        memory_gb=item.whole("memory"),
        price_usd_per_hour=price or None,
        stock=words.stock(item.text("availability")),
        cloud_type=cloud,
        regions=tuple(
            region
            for center in item.objects("dataCenters")
            if (region := center.text("id")) and center.text("availability") != "NONE"
        ),
        raw=item.raw,
    )


def gpu_id_named(reply: HttpReply, name: str) -> str | None:
    """The id of the type with this id or display name, letter case aside; None when the catalogue has none."""
    types, _ = listed(reply, "gpus", lambda item: (item.text("id") or "", item.text("name") or ""))
    wanted = name.casefold()
    by_id = (gpu_id for gpu_id, _ in types if gpu_id.casefold() == wanted)
    by_name = (gpu_id for gpu_id, shown in types if shown.casefold() == wanted)
    found = next(by_id, None) or next(by_name, None)
    return None if found in PLACEHOLDER_GPUS else found


def log_line(event: SseEvent) -> LogLine:
    """One log event. A payload that is not RunPod's object is passed on as the line it is."""
    try:
        decoded = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        return LogLine(line=event.data, cursor=event.id or None)
    payload = Fields(decoded)
    return LogLine(
        line=payload.text("line") or "",
        at=payload.instant("ts"),
        source=payload.text("source"),
        cursor=event.id or None,
    )


def job(body: Fields, endpoint: str, provider: str, *, job_id: str | None = None, at: datetime | None = None) -> Job:
    """One job. `job_id` is the id that was asked for, should the reply leave it out; a submit's reply must not."""
    return Job(
        id=(body.text("id") or job_id) if job_id else body.required_text("id"),
        provider=provider,
        endpoint=endpoint,
        status=words.job_status(body.required_text("status")),
        output=body.any("output"),
        error=fault(body.any("error")),
        execution_time=_span(body, "executionTime"),
        delay_time=_span(body, "delayTime"),
        retries=body.whole("retries") or 0,
        worker_id=body.text("workerId"),
        created_at=at,
        raw={key: value for key, value in body.raw.items() if key not in {"input", "webhook"}},
    )


def _span(body: Fields, key: str) -> timedelta | None:
    milliseconds = body.number(key)
    try:
        return None if milliseconds is None else timedelta(milliseconds=milliseconds)
    except OverflowError as error:
        raise ReplyShapeError("expected a number of milliseconds", paths=[f"{body.path}.{key}"]) from error


_GENERATOR_FAULT = re.compile(r"handler: (?P<message>.*?) \ntraceback: (?P<traceback>Traceback .*)", re.DOTALL)
"""What the worker package sends where a generator raised. Source: `runpod` 1.12.0, `serverless/modules/rp_job.py`."""


def fault(error: Any) -> JobFault | None:
    """Why a job failed. Python workers send a JSON string with the exception in it; platform texts are plain."""
    if error is None:
        return None
    if isinstance(error, str) and (found := _GENERATOR_FAULT.fullmatch(error)):
        return _generator_fault(found["message"], found["traceback"], error)
    told = _decoded(error)
    if not isinstance(told, dict) or "error_message" not in told:
        return JobFault(message=error if isinstance(error, str) else _compact(error), raw=error)
    kind = told.get("error_type")
    trace = told.get("error_traceback")
    message = told["error_message"]
    return JobFault(
        message=message if isinstance(message, str) else _compact(message),
        type=_EXCEPTION.sub(r"\1", kind) if isinstance(kind, str) else None,
        traceback=trace if isinstance(trace, str) else None,
        raw=error,
    )


def _generator_fault(message: str, trace: str, raw: str) -> JobFault:
    """Where a generator raised, the exception's class is told by the traceback's last line alone."""
    before, found, _ = trace.rstrip().rpartition(f": {message}")
    kind = before.rpartition("\n")[2] if found else None
    return JobFault(message=message, type=kind or None, traceback=trace, raw=raw)


def _decoded(error: Any) -> Any:
    if not isinstance(error, str):
        return error
    try:
        return orjson.loads(error)
    except orjson.JSONDecodeError:
        return None


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()


def stream_page(reply: HttpReply) -> PollPage:
    """One drain of a job's output, in a few hundred nanoseconds a chunk. Read the status after taking the items."""
    return poll_page(reply.json())


def stream_events(events: Sequence[SseEvent]) -> PollPage:
    """The same, from a server that answers with server-sent events; the last status among them counts."""
    bodies = _bodies(events)
    return _plain_events(bodies) or _any_events(bodies)


def _plain_events(bodies: list[Any]) -> PollPage | None:
    """Read bodies that are all as they should be, in a quarter of the time; None if any of them is not."""
    word: Any = None
    chunks: list[Any] = []
    try:
        for body in bodies:
            word = body["status"]
            chunks += body["stream"]
        return PollPage(status=words.JOB_STATUS[word], items=_items(chunks, "$.stream"))
    except (KeyError, TypeError, ReplyShapeError):
        return None


def _any_events(bodies: list[Any]) -> PollPage:
    status, items = JobStatus.UNKNOWN, list[PollItem]()
    for body in bodies:
        said, chunks = _read_poll(body)
        items += chunks
        if said is not JobStatus.UNKNOWN:
            status = said
    return PollPage(status=status, items=items)


def _bodies(events: Sequence[SseEvent]) -> list[Any]:
    """The data of events. Decoding them together takes half the time; if that fails, one by one says which is wrong."""
    try:
        together: list[Any] = orjson.loads(f"[{','.join([event.data for event in events])}]")
    except orjson.JSONDecodeError:
        together = []
    return together if len(together) == len(events) else [_body(event) for event in events]


def _body(event: SseEvent) -> Any:
    try:
        return orjson.loads(event.data)
    except orjson.JSONDecodeError as error:
        raise ReplyShapeError(f"the event's data is not JSON: {error}", paths=["$"]) from error


def poll_page(body: Any) -> PollPage:
    """Read `{"status", "stream": […]}`, or the bare array that RunPod's documentation shows."""
    status, items = _read_poll(body)
    return PollPage(status=status, items=items)


def _read_poll(body: Any) -> tuple[JobStatus, Sequence[PollItem]]:
    if isinstance(body, list):
        return JobStatus.UNKNOWN, _items(body, "$")
    word = body.get("status") if type(body) is dict else None
    if type(word) is not str:
        word = Fields(body).text("status")  # which says what is wrong
    chunks = body.get("stream")
    status = words.job_status(word) if word else JobStatus.UNKNOWN
    return status, _items(chunks, "$.stream") if chunks else ()


def _items(chunks: Any, path: str) -> list[PollItem]:
    try:
        return [(chunk.get("output"), chunk.get("metrics")) for chunk in chunks]
    except (AttributeError, TypeError) as error:
        raise _chunk_fault(chunks, path) from error


def _chunk_fault(chunks: Any, path: str) -> ReplyShapeError:
    if not isinstance(chunks, list):
        return ReplyShapeError(f"expected a list of chunks, got {type(chunks).__name__}", paths=[path])
    paths = [f"{path}[{index}]" for index, chunk in enumerate(chunks) if not isinstance(chunk, dict)]
    return ReplyShapeError("expected every chunk to be an object", paths=paths[:5])

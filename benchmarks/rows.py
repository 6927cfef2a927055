"""Which numbers are shown, in which words, and what they are held against."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal

from attrs import frozen

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""By contender and by name: one value for each round."""


@frozen(kw_only=True)
class Row:
    """One number of a measure."""

    key: str
    label: str
    digits: int = 1
    by: Literal["ratio", "difference", "value"] = "ratio"
    """How exatlas is compared with its base: divided by it, what is left over it, or not at all."""
    most: float | None = None
    """The target: no more than this."""
    least: float | None = None
    """The target: no less than this."""
    from_streams: int = 0
    """Shown for so many streams and more."""


@frozen
class Verdict:
    """How exatlas fares in one row."""

    value: float
    met: bool | None
    """None where there is no target."""


def compare(row: Row, values: Values, base: str) -> Verdict | None:
    """Hold exatlas against the base, medians against medians; None where one of the two is missing."""
    ours = middle(row, values, "exatlas")
    theirs = middle(row, values, base)
    if ours is None or (theirs is None and row.by != "value"):
        return None
    if theirs is None or row.by == "value":
        value = ours
    elif row.by == "difference":
        value = ours - theirs
    else:
        value = ours / theirs if theirs else float("inf")
    return Verdict(value, _met(row, value))


def middle(row: Row, values: Values, contender: str) -> float | None:
    """The median over the rounds, or None where there is none."""
    found = values.get(contender, {}).get(row.key)
    return median(found) if found else None


def _met(row: Row, value: float) -> bool | None:
    if row.most is None and row.least is None:
        return None
    return (row.most is None or value <= row.most) and (row.least is None or value >= row.least)


_MEAN = Row(key="mean_ms", label="added latency, mean (ms)", digits=2, most=1.5)
_P95 = Row(key="p95_ms", label="added latency, p95 (ms)", digits=2)
_FIRST = Row(key="first_ms", label="first chunk (ms)", digits=2, by="difference", most=10)
_END = Row(key="end_ms", label="end of stream (ms)", digits=2, by="difference", most=5)
_REQUESTS = Row(key="requests", label="requests per stream", digits=2, most=1.02)
"""Never more by design; chance decides how many chunks share a request, and one in fifty is its part."""
_CPU = Row(key="cpu_ms", label="CPU per 1,000 chunks (ms)", digits=0, most=1.25)
_LOST = Row(key="lost", label="streams lost", digits=0, by="value", most=0)

ROWS: Mapping[str, tuple[Row, ...]] = {
    "first": (_FIRST, Row(key="whole_ms", label="whole stream (ms)", digits=2, by="difference", most=5)),
    "streams": (
        _MEAN,
        _P95,
        _FIRST,
        _END,
        _REQUESTS,
        _CPU,
        Row(key="peak_mb", label="memory of the process (MB)", digits=0, most=1.25, from_streams=1000),
        Row(key="grown_kb", label="memory per stream (KB)", from_streams=1000),
        _LOST,
    ),
    "limited": (
        Row(key="refused", label="answers of 429", digits=0, by="value", most=0),
        _LOST,
        Row(key="starved", label="streams starved", digits=0, by="value", most=0),
        Row(key="mean_ms", label="added latency, mean (ms)", digits=0),
        Row(key="of_arithmetic", label="mean over streams / (2 rate)", digits=2, by="value", most=1.2),
        _REQUESTS,
        Row(key="cpu_ms", label="CPU per 1,000 chunks (ms)", digits=0),
    ),
    "flood": (
        Row(key="chunks_per_s", label="chunks per second", digits=0, least=0.6),
        Row(key="cpu_ms", label="CPU per 1,000 chunks (ms)", digits=2),
    ),
    "calls": (
        Row(key="calls_per_s", label="calls per second", digits=0),
        Row(key="cpu_ms", label="CPU per 1,000 calls (ms)", digits=0, most=1.25),
    ),
    "decode": (Row(key="mb_per_s", label="MB per second", digits=0),),
    "fan": (Row(key="over_ms", label="over the slowest cloud (ms)", by="value", most=10),),
    "spawns": (Row(key="spawns_per_s", label="machines per second", digits=0, by="value", least=10_000),),
    "written": (
        Row(key="commits_per_s", label="commits of one number per second", digits=0),
        Row(key="one_per_s", label="writes per second, one writer", digits=0),
        Row(key="fifty_per_s", label="writes per second, 50 writers", digits=0),
        Row(key="gain", label="50 writers / one writer", by="value", least=5),
        Row(key="cpu_ms", label="CPU per 1,000 writes, 50 writers (ms)", digits=0),
    ),
    "booked": (
        Row(key="alone_ms", label="one at a time (ms)", digits=2, by="difference"),
        Row(key="alone_cpu_ms", label="one at a time, CPU (ms)", digits=2, by="difference"),
        Row(key="crowd_ms", label="50 at once, per machine (ms)", digits=2, by="difference"),
        Row(key="crowd_cpu_ms", label="50 at once, CPU per machine (ms)", digits=2, by="difference"),
    ),
    "held": (
        Row(key="kb_per_session", label="memory per session, beside the ledger's (KB)", by="value", most=10),
        Row(key="kb_per_page", label="memory per session of the ledger and the cloud (KB)", by="value"),
        Row(key="tasks", label="asyncio tasks", digits=0, by="value"),
        Row(key="idle_percent", label="idle CPU (% of a core)", digits=2, by="value", most=1),
        Row(key="poll_ms", label="CPU of one poll, beside the list call (ms)", digits=0, by="value"),
        Row(key="polling_percent", label="idle CPU with a poll every 30 s (% of a core)", digits=2, by="value"),
        Row(key="taken_per_s", label="sessions taken over per second", digits=0, by="value"),
        Row(key="collect_ms", label="one full garbage collection (ms)", digits=0, by="value"),
    ),
    "lived": (
        Row(key="spawned_per_s", label="spawned per second, 50 at once", digits=0, by="value"),
        Row(key="touched_per_s", label="touches per second", digits=0, by="value", least=300_000),
        Row(key="told_per_s", label="touches per second that are events", digits=0, by="value"),
        Row(key="ended_per_s", label="ended per second, all at once", digits=0, by="value"),
    ),
    "foreign": (
        Row(key="first_per_s", label="first touches per second, 50 at once", digits=0, by="value"),
        Row(key="again_per_s", label="touches per second within 5 s of the first", digits=0, by="value"),
        Row(key="info_per_s", label="`info` per second, 50 at once", digits=0, by="value"),
        Row(key="list_per_s", label="sessions listed per second", digits=0, by="value"),
    ),
    "taken": (
        Row(key="kill_leases", label="from the kill (leases)", digits=2, by="value"),
        Row(key="renewal_leases", label="from its last renewal (leases)", digits=2, by="value"),
        Row(key="late_s", label="beyond a lease and a quarter (s)", digits=2, by="value", most=1),
        Row(key="claimed_per_s", label="sessions claimed per second, at the start", digits=0, by="value"),
    ),
    "woken": (
        Row(key="median_ms", label="until it is read, median (ms)", digits=2, by="difference"),
        Row(key="p99_ms", label="until it is read, p99 (ms)", digits=2, by="difference"),
    ),
    "start": (Row(key="start_ms", label="from start to end (ms)", digits=0, by="difference", most=60),),
}

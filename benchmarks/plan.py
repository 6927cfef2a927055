"""Which measures, with which numbers, and who takes part."""

from typing import Any

from attrs import field, frozen

PAIR = ("floor", "exatlas")
ALL = (*PAIR, "runpod")
OURS = ("exatlas",)
AWAY_MS = {"runpod": 50, "vast": 120, "lambda_labs": 250, "fly": 400}
LIMITED = ("floor", "floor, one budget", "exatlas", "runpod")


@frozen(kw_only=True)
class Step:
    """One measure with its settings. Contenders take turns, round by round."""

    group: str
    """What to ask for on the command line."""
    name: str
    what: str
    """The measure, by the name the child knows it under."""
    settings: dict[str, Any]
    less: dict[str, Any] = field(factory=dict)
    """Smaller settings for the vendor's client where the full ones would take minutes."""
    contenders: tuple[str, ...] = ALL
    rounds: int = 3

    @property
    def needs_postgres(self) -> bool:
        """Whether it can only be taken where PostgreSQL's server is installed."""
        return self.settings.get("kind") == "postgres"

    def settings_for(self, contender: str) -> dict[str, Any]:
        """The settings of one contender."""
        return self.settings | (self.less if contender == "runpod" else {})

    def takes_part(self, contender: str, number: int) -> bool:
        """Whether a contender runs in this round. What is hundreds of times away is measured once."""
        return number == 0 or contender in (*PAIR, "floor, one budget", "SQLAlchemy asyncio")


def steps(*, quick: bool) -> list[Step]:
    """The whole plan: about a minute when quick, else under ten."""
    return [
        *_latency(quick=quick),
        *_limits(quick=quick),
        *_floods(quick=quick),
        _calls(quick=quick),
        _sse(quick=quick),
        _imports(quick=quick),
        *_fakes(quick=quick),
        *_ledgers(quick=quick),
        *_sessions(quick=quick),
    ]


def _latency(*, quick: bool) -> list[Step]:
    def streams(name: str, number: int, chunks: int, every_s: float) -> Step:
        return Step(
            group="latency",
            name=name,
            what="streams",
            settings={"streams": number, "chunks": chunks, "every_s": every_s},
            contenders=PAIR if quick and number > 100 else ALL,
            rounds=1 if quick else 3,
        )

    return [
        Step(
            group="latency",
            name="opening a stream",
            what="first",
            settings={"jobs": 50},
            less={"jobs": 1 if quick else 5},
            rounds=1 if quick else 3,
        ),
        streams("1 stream", 1, 30 if quick else 60, 0.06),
        streams("100 streams", 100, 20 if quick else 30, 0.1 if quick else 0.14),
        streams("1,000 streams", 1000, 4 if quick else 8, 1.0),
    ]


def _limits(*, quick: bool) -> list[Step]:
    def streams(name: str, number: int, chunks: int, every_s: float) -> Step:
        return Step(
            group="limits",
            name=name,
            what="limited",
            settings={"streams": number, "chunks": chunks, "every_s": every_s},
            contenders=("floor, one budget", "exatlas") if quick else LIMITED,
            rounds=1,
        )

    if quick:
        return [streams("100 streams, within RunPod's limits", 100, 40, 0.14)]
    return [
        streams("100 streams, within RunPod's limits", 100, 70, 0.14),
        streams("1,000 streams, within RunPod's limits", 1000, 20, 1.0),
    ]


def _floods(*, quick: bool) -> list[Step]:
    return [
        Step(
            group="flood",
            name="100,000 chunks by poll",
            what="flood",
            settings={"chunks": 100_000, "repeats": 3 if quick else 5},
            less={"repeats": 1},
            contenders=PAIR if quick else ALL,
            rounds=1 if quick else 3,
        ),
        Step(
            group="flood",
            name="100,000 chunks by SSE",
            what="flood",
            settings={"chunks": 100_000, "repeats": 3 if quick else 5, "events": True},
            contenders=PAIR,
            rounds=1 if quick else 3,
        ),
    ]


def _calls(*, quick: bool) -> Step:
    return Step(
        group="calls",
        name="2,000 `get_compute` calls, 50 at once",
        what="calls",
        settings={"calls": 2000, "at_once": 50},
        less={"calls": 500 if quick else 2000},
        rounds=2 if quick else 5,
    )


def _sse(*, quick: bool) -> Step:
    return Step(
        group="sse",
        name="SSE events of 160 bytes (floor: cut at blank lines)",
        what="decode",
        settings={"events": 50_000, "repeats": 3 if quick else 5},
        contenders=(*PAIR, "httpx-sse"),
        rounds=1 if quick else 3,
    )


def _imports(*, quick: bool) -> Step:
    return Step(
        group="imports",
        name="import (floor: a bare interpreter)",
        what="start",
        settings={"times": 7},
        less={"times": 1 if quick else 3},
        contenders=(*PAIR, "aiohttp", "runpod"),
        rounds=1 if quick else 3,
    )


def _fakes(*, quick: bool) -> list[Step]:
    def spawns(provider: str, machines: int) -> Step:
        return Step(
            group="fakes",
            name=f"machines rented of {provider}'s fake",
            what="spawns",
            settings={"provider": provider, "machines": machines // 10 if quick else machines},
            contenders=("exatlas",) if provider == "memory" else PAIR,
            rounds=1 if quick else 3,
        )

    return [
        Step(
            group="fakes",
            name="fan-out over four clouds, 50 to 400 ms away",
            what="fan",
            settings={"away_ms": AWAY_MS, "repeats": 1 if quick else 3},
            contenders=PAIR,
            rounds=1 if quick else 3,
        ),
        spawns("memory", 3000),
        spawns("runpod", 2000),
    ]


def _ledgers(*, quick: bool) -> list[Step]:
    def written(name: str, kind: str) -> Step:
        return Step(
            group="ledgers",
            name=f"a ledger in {name}",
            what="written",
            settings={"kind": kind, "alone": 50 if quick else 150, "together": 500 if quick else 1500},
            contenders=PAIR if quick else (*PAIR, "SQLAlchemy asyncio"),
            rounds=1 if quick else 3,
        )

    def booked(name: str, kind: str, machines: int) -> Step:
        return Step(
            group="ledgers",
            name=f"to rent and end a machine, ledger in {name}",
            what="booked",
            settings={"kind": kind, "machines": machines // 4 if quick else machines},
            contenders=PAIR,
            rounds=1 if quick else 3,
        )

    writes = [written("SQLite", "sqlite"), written("PostgreSQL", "postgres")]
    rents = [booked("memory", "memory", 500), booked("SQLite", "sqlite", 100), booked("PostgreSQL", "postgres", 100)]
    return [*writes, *(rents[1:2] if quick else rents)]


def _sessions(*, quick: bool) -> list[Step]:
    def foreign(name: str, kind: str) -> Step:
        return Step(
            group="sessions",
            name=f"another worker's sessions, ledger in {name}",
            what="foreign",
            settings={"kind": kind, "sessions": 100 if quick else 500, "touches": 100},
            contenders=OURS,
            rounds=1,
        )

    def taken(sessions: int, lease_s: float) -> Step:
        return Step(
            group="sessions",
            name=f"{sessions:,} sessions of a worker that is killed, a lease of {lease_s:g} s, ledger in PostgreSQL",
            what="taken",
            settings={"kind": "postgres", "sessions": sessions, "lease_s": lease_s},
            contenders=OURS,
            rounds=1,
        )

    number = 2000 if quick else 100_000
    held = Step(
        group="sessions",
        name=f"{number:,} sessions in one process, ledger in memory",
        what="held",
        settings={"sessions": number, "poll_every_s": 0.6 if quick else 5.5, "idle_s": 0.4 if quick else 5.0},
        contenders=OURS,
        rounds=1,
    )
    lived = Step(
        group="sessions",
        name="a worker's own sessions, ledger in memory",
        what="lived",
        settings={"sessions": 500 if quick else 1500, "touches": 100},
        contenders=OURS,
        rounds=1 if quick else 2,
    )
    if quick:
        return [held, lived, foreign("SQLite", "sqlite")]
    woken = Step(
        group="sessions",
        name="news from one worker to another, ledger in PostgreSQL (floor: NOTIFY and LISTEN)",
        what="woken",
        settings={"kind": "postgres", "times": 80},
        contenders=PAIR,
        rounds=1,
    )
    both = [foreign("SQLite", "sqlite"), foreign("PostgreSQL", "postgres")]
    return [held, lived, *both, taken(200, 1.5), taken(10_000, 3.0), woken]

"""What `serve` was asked for, checked before anything starts."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from exatlas.clock import SystemClock
from exatlas.errors import ConfigError
from exatlas.local.handlers import Handler
from exatlas.local.script import WorkerKind, choose_worker
from exatlas.protocols import Clock
from exatlas.providers.runpod.submission import Rules
from exatlas.records import checks
from exatlas.records.checks import rule

HandlerSource = Handler | str | os.PathLike[str]
WorkerChoice = Literal["auto", "runpod", "builtin"]

STOP_GRACE_S = 10.0
"""How long a worker may hold on to a job it was told to stop, before its process is replaced."""


def _endpoint(value: object) -> str | None:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value):
        return None
    return f"expected letters, digits, - and _ (at most 64), {checks.given(value)}"


def _port(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65_535:
        return None
    return f"expected 0 (any free port) to 65535, {checks.given(value)}"


def _key(value: object) -> str | None:
    if isinstance(value, str) and value.isascii() and value.isprintable() and value and " " not in value:
        return None
    return "expected printable ASCII without blanks"  # and never shown


def _handler(value: object) -> str | None:
    if callable(value) or isinstance(value, Path):
        return None
    return f"expected a function or the path of a Python file, {checks.given(value)}"


def _seconds(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return None
    return f"expected a number of seconds above 0, {checks.given(value)}"


def _as_path(value: Any) -> Any:
    return Path(value).absolute() if isinstance(value, str | os.PathLike) else value


def _rules(value: object) -> str | None:
    return None if isinstance(value, Rules) else f"expected exatlas.local.Rules, {checks.given(value)}"


def _as_key(value: Any) -> Any:
    return secrets.token_urlsafe(18) if value is None else value


def _as_rules(value: Any) -> Any:
    return Rules(stop_grace_s=STOP_GRACE_S) if value is None else value


def _as_clock(value: Any) -> Any:
    return SystemClock() if value is None else value


@frozen(kw_only=True)
class Settings:
    """The arguments of :func:`exatlas.local.serve`, which documents them."""

    handler: Any = field(converter=_as_path, metadata=rule(_handler))
    endpoint: str = field(metadata=rule(_endpoint))
    workers: int = field(metadata=rule(checks.whole(1)))
    concurrency: int = field(metadata=rule(checks.whole(1)))
    return_aggregate_stream: bool = field(metadata=rule(checks.flag))
    worker: str
    port: int = field(metadata=rule(_port))
    api_key: str = field(converter=_as_key, repr=False, metadata=rule(_key))
    env: Mapping[str, str] = field(converter=checks.as_dict, repr=False, metadata=rule(checks.string_map))
    limits: bool = field(metadata=rule(checks.flag))
    rules: Rules = field(converter=_as_rules, metadata=rule(_rules))
    clock: Clock = field(converter=_as_clock)
    on_line: Callable[[str], None] | None
    start_timeout: float = field(metadata=rule(_seconds))
    stop_timeout: float = field(metadata=rule(_seconds))
    kind: WorkerKind | None = field(init=False, default=None)
    """Who runs a handler file; None for a function, which runs in this process."""

    def __attrs_post_init__(self) -> None:
        checks.validate(self)
        if isinstance(self.handler, Path):
            object.__setattr__(self, "kind", self._kind_of(self.handler))
        elif self.worker != "auto" or self.env:
            raise ConfigError("worker and env are for handler files: a function runs in this process as it is")

    def _kind_of(self, path: Path) -> WorkerKind:
        if os.name != "posix":
            raise ConfigError("handler files run as supervised processes, which needs a POSIX system; pass a function")
        kind = choose_worker(path, self.worker)
        if kind is WorkerKind.RUNPOD and (self.concurrency != 1 or self.return_aggregate_stream):
            raise ConfigError(
                f"{path.name} calls runpod.serverless.start, so concurrency and return_aggregate_stream are its own to "
                "say (concurrency_modifier and return_aggregate_stream in what it passes there)"
            )
        return kind

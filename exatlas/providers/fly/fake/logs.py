"""The fake's log API: pages of a hundred lines and a cursor in nanoseconds."""

from datetime import UTC, datetime
from typing import Any

from attrs import define, field

from exatlas.fakes.replies import json_reply
from exatlas.messages import HttpReply

PAGE = 100


@define
class FakeLog:
    """The lines of one app."""

    as_numbers: bool = False
    """Whether cursors are numbers."""
    nested: bool = False
    """Whether entries have the shape that log shippers get."""
    capitals: bool = False
    """Whether keys are spelled as in Fly's Go structs."""
    lines: list[tuple[int, str, str, str]] = field(factory=list)
    """Instant in nanoseconds, machine, region, text."""

    def page(self, cursor: str, instance: str | None) -> HttpReply:
        """One page: the last lines, or those since the cursor."""
        mine = [(number, *line) for number, line in enumerate(self.lines) if instance in (None, "", line[1])]
        found = [line for line in mine if line[1] >= int(cursor)][:PAGE] if cursor else mine[-PAGE:]
        token: Any = str(found[-1][1] + 1) if found else ""
        if self.as_numbers and token:
            token = int(token)
        body = {"data": [self._entry(*line) for line in found], "meta": {"next_token": token}}
        return json_reply(200, _capitalised(body) if self.capitals else body)

    def _entry(self, number: int, at_ns: int, machine: str, region: str, text: str) -> dict[str, Any]:
        seconds, nanos = divmod(at_ns, 1_000_000_000)
        instant = f"{_date(seconds)}.{nanos:09d}Z"
        if self.nested:
            return {
                "timestamp": instant,
                "message": text,
                "log": {"level": "info"},
                "event": {"provider": "app"},
                "fly": {"region": region, "app": {"name": "x", "instance": machine}},
            }
        attributes = {
            "timestamp": instant,
            "level": "info",
            "message": text,
            "instance": machine,
            "region": region,
            "meta": {"instance": machine, "region": region, "event": {"provider": "app"}},
        }
        return {"id": f"{at_ns}-{number}", "type": "log", "attributes": attributes}


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _capitalised(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: _capitalised(item) for key, item in value.items()}
    return [_capitalised(item) for item in value] if isinstance(value, list) else value

"""Strict, cheap reading of decoded JSON. Nothing is coerced: `true` is no number, `"3"` is no number, `3` is no text.

Every fault is a `ReplyShapeError` that names the JSON path, such as `$.pods[3].gpu.id`. A missing key and `null` are
the same: None, or empty for lists. Paths are put together only when a fault is reported.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self

from exatlas.errors import ReplyShapeError
from exatlas.messages import HttpReply

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Fields:
    """One JSON object, read field by field."""

    __slots__ = ("_at", "_index", "_parent", "raw")

    def __init__(self, value: Any, path: str = "$") -> None:
        if type(value) is not dict:
            raise _fault(path, value, "an object")
        self.raw: dict[str, Any] = value
        """The object as it was decoded."""
        self._parent: Fields | None = None
        self._at = path
        self._index: int | None = None

    @classmethod
    def _child(cls, value: dict[str, Any], parent: Self, key: str, index: int | None = None) -> Self:
        fields = cls.__new__(cls)
        fields.raw = value
        fields._parent = parent
        fields._at = key
        fields._index = index
        return fields

    @property
    def path(self) -> str:
        """Where in the reply this object stands."""
        if self._parent is None:
            return self._at
        return f"{self._parent.path}{_step(self._at)}{'' if self._index is None else f'[{self._index}]'}"

    def __repr__(self) -> str:
        return f"<Fields {self.path}>"

    def any(self, key: str) -> Any:
        """The value as it is, or None."""
        return self.raw.get(key)

    def text(self, key: str) -> str | None:
        value = self.raw.get(key)
        if value is None or type(value) is str:
            return value
        raise self._fault(key, value, "text")

    def required_text(self, key: str) -> str:
        """Read text that must be there and not be empty: ids, statuses."""
        value = self.raw.get(key)
        if type(value) is str and value:
            return value
        raise self._fault(key, value, "non-empty text")

    def whole(self, key: str) -> int | None:
        """Read a whole number. `3.0` is one, as in JSON Schema."""
        value = self.raw.get(key)
        if value is None or type(value) is int:
            return value
        if type(value) is float and value.is_integer():
            return int(value)
        raise self._fault(key, value, "a whole number")

    def number(self, key: str) -> float | None:
        value = self.raw.get(key)
        if value is None or type(value) is float:
            return value
        if type(value) is int:
            return float(value)
        raise self._fault(key, value, "a number")

    def decimal(self, key: str) -> Decimal | None:
        """Read a number by its shortest decimal spelling, so that 0.1 is exactly 0.1."""
        value = self.raw.get(key)
        if value is None:
            return None
        if type(value) is float or type(value) is int:
            return Decimal(str(value))
        raise self._fault(key, value, "a number")

    def flag(self, key: str) -> bool | None:
        value = self.raw.get(key)
        if value is None or type(value) is bool:
            return value
        raise self._fault(key, value, "true or false")

    def instant(self, key: str) -> datetime | None:
        """Read an RFC 3339 instant, as UTC; one without an offset is taken for UTC, and empty text for none.

        Digits beyond microseconds are dropped.
        """
        value = self.raw.get(key)
        if value is None or value == "":
            return None
        if type(value) is not str or not _INSTANT.fullmatch(value):
            raise self._fault(key, value, "an RFC 3339 instant")
        try:
            instant = datetime.fromisoformat(value.upper())
            return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
        except (ValueError, OverflowError) as error:
            raise self._fault(key, value, "an RFC 3339 instant") from error

    def object(self, key: str) -> Self | None:
        value = self.raw.get(key)
        if value is None:
            return None
        if type(value) is dict:
            return self._child(value, self, key)
        raise self._fault(key, value, "an object")

    def objects(self, key: str) -> list[Self]:
        """Read a list of objects; missing and null are the empty list."""
        value = self.raw.get(key)
        if value is None:
            return []
        return self._objects(key, value)

    def required_objects(self, key: str) -> list[Self]:
        """Read a list of objects that must be there: where "none" and "not said" are different things."""
        return self._objects(key, self.raw.get(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts; missing and null are the empty tuple."""
        value = self.raw.get(key)
        if value is None:
            return ()
        if type(value) is not list:
            raise self._fault(key, value, "a list")
        for index, item in enumerate(value):
            if type(item) is not str:
                raise _fault(f"{self.path}{_step(key)}[{index}]", item, "text")
        return tuple(value)

    def _objects(self, key: str, value: Any) -> list[Self]:
        if type(value) is not list:
            raise self._fault(key, value, "a list")
        children = []
        for index, item in enumerate(value):
            if type(item) is not dict:
                raise _fault(f"{self.path}{_step(key)}[{index}]", item, "an object")
            children.append(self._child(item, self, key, index))
        return children

    def _fault(self, key: str, value: Any, expected: str) -> ReplyShapeError:
        return _fault(f"{self.path}{_step(key)}", value, expected, missing=key not in self.raw)


def body_of(reply: HttpReply) -> Fields:
    """The object that is a reply's body."""
    return Fields(reply.json())


def objects_of(value: Any, path: str = "$") -> list[Fields]:
    """Read a bare top-level array of objects."""
    if type(value) is not list:
        raise _fault(path, value, "a list")
    return [Fields(item, f"{path}[{index}]") for index, item in enumerate(value)]


def _step(key: str) -> str:
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{key!r}]"


_JSON_WORDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def _fault(path: str, value: Any, expected: str, *, missing: bool = False) -> ReplyShapeError:
    """The value itself is not shown: any text of a reply may be a secret."""
    found = "nothing" if missing else "null" if value is None else _JSON_WORDS.get(type(value), type(value).__name__)
    return ReplyShapeError(f"the reply has {found} at {path}, where {expected} belongs", paths=[path])

"""A cloud's published OpenAPI document as a judge of what we send and of what we, or a fake, take for its replies.

Needs the extra ``testing``.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import yaml
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from exatlas.messages import HttpCall, HttpReply
from exatlas.protocols import ByteStream, Transport

Invalid = OpenAPIError
"""What a judgement raises."""


class ApiDocument:
    """One document, asked whether a request or a reply is one of its own. A check takes a few milliseconds.

    Args:
        source: The document, or the path of its JSON or YAML file.
        server: The origin that its paths begin at, whatever a call's own URL says; None takes the document's first.
        validate_document: Whether the document must be a valid one itself; several published ones are not.
    """

    def __init__(
        self, source: Path | Mapping[str, Any], *, server: str | None = None, validate_document: bool = True
    ) -> None:
        self.content: Mapping[str, Any] = _load(source) if isinstance(source, Path) else source
        skip: dict[str, Any] = {} if validate_document else {"spec_validator_cls": None}
        settings = Config(extra_media_type_deserializers={"application/problem+json": orjson.loads}, **skip)
        self._judge = OpenAPI.from_dict(dict(self.content), config=settings)
        self._server = server or self.content["servers"][0]["url"]
        self.checked = 0
        """How many requests and replies were judged."""

    def fields(self, schema: str) -> set[str]:
        """The names of all properties of a body, through what it is composed of."""
        schemas = self.content["components"]["schemas"]

        def walk(node: Mapping[str, Any]) -> set[str]:
            if "$ref" in node:
                return walk(schemas[node["$ref"].rsplit("/", 1)[1]])
            return set(node.get("properties", ())).union(*(walk(part) for part in node.get("allOf", ())))

        return walk(schemas[schema])

    def words(self, schema: str) -> set[str]:
        """The words of an enumeration."""
        return set(self.content["components"]["schemas"][schema]["enum"])

    def request(self, call: HttpCall) -> MockRequest:
        """Check a call's path, query and body; gives the request for :meth:`reply`.

        Raises:
            Invalid: the document has no such operation, or another form for it.
        """
        parts = urlsplit(call.url)
        request = MockRequest(
            self._server,
            call.method.lower(),
            parts.path,
            args={name: values[0] for name, values in parse_qs(parts.query).items()},
            headers=dict(call.headers),
            data=call.body,
            content_type="application/json" if call.body is not None else "",
        )
        self._judge.validate_request(request)
        self.checked += 1
        return request

    def reply(self, request: MockRequest, reply: HttpReply) -> None:
        """Check a reply to a request; empty replies and those that are not JSON have nothing to check.

        Raises:
            Invalid: the document gives that operation no such reply.
        """
        kind = reply.headers.get("content-type", "").partition(";")[0]
        if reply.status == 204 or "json" not in kind:
            return
        self._judge.validate_response(request, MockResponse(reply.body, reply.status, content_type=kind))
        self.checked += 1


class JudgedTransport:
    """A transport whose calls, and the honest replies to them, are judged by a document on their way.

    Args:
        judged: Which calls: by default all.
        honest: Which replies: a reply that a fault has spoiled, or that the cloud is known to send against its own
            document, is none.
    """

    def __init__(
        self,
        inner: Transport,
        document: ApiDocument,
        *,
        judged: Callable[[HttpCall], bool] = lambda _: True,
        honest: Callable[[HttpCall, HttpReply], bool] = lambda _call, _reply: True,
    ) -> None:
        self._inner = inner
        self._document = document
        self._judged = judged
        self._honest = honest

    async def send(self, call: HttpCall, /) -> HttpReply:
        """See :class:`exatlas.Transport`."""
        request = self._document.request(call) if self._judged(call) else None
        reply = await self._inner.send(call)
        if request is not None and self._honest(call, reply):
            self._document.reply(request, reply)
        return reply

    async def open(self, call: HttpCall, /) -> ByteStream:
        """See :class:`exatlas.Transport`. The head of a stream is not judged."""
        if self._judged(call):
            self._document.request(call)
        return await self._inner.open(call)

    async def aclose(self) -> None:
        """See :class:`exatlas.Transport`."""
        await self._inner.aclose()


def _load(path: Path) -> Mapping[str, Any]:
    text = path.read_bytes()
    loaded: Mapping[str, Any] = orjson.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    return loaded

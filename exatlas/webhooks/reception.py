"""URLs for callbacks, the callbacks that come, and waiting for them."""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol, Unpack, cast, runtime_checkable
from urllib.parse import urlsplit

import orjson
from attrs import evolve, frozen

from exatlas.cancellation import Deadline
from exatlas.client import arguments
from exatlas.client.arguments import AccountOptions, RunOptions
from exatlas.client.atlas import Atlas
from exatlas.client.default import default_client
from exatlas.clock import SystemClock
from exatlas.errors import (
    AtlasError,
    ConfigError,
    NotFoundError,
    ReplyShapeError,
    TransportTimeoutError,
    ValidationError,
)
from exatlas.protocols import Clock, Provider
from exatlas.providers import ProviderChoice
from exatlas.records import checks
from exatlas.records.job import Job, JobRef, JobRequest
from exatlas.records.serial import structure
from exatlas.webhooks import tickets
from exatlas.webhooks.arrivals import Arrivals, JobKey, Seen
from exatlas.webhooks.tickets import Ticket

SHORTEST_SECRET = 16
"""Bytes. Use `secrets.token_urlsafe(32)`."""
LIFE = timedelta(hours=25)
"""How long a URL is good for: clouds give jobs a day, and call again when they are not heard."""
GRACE = timedelta(hours=1)
"""How much longer a URL is good for than the job it belongs to may live."""
MOST_BODY_BYTES = 48 * 1024 * 1024
"""RunPod sends the job's input along with its output: 20 MB each at most, before JSON's escapes."""
CONFIRM_PATIENCE_S = 10.0
"""How long confirming may take before the cloud is told to come again."""

OK, MALFORMED, REFUSED, TOO_LARGE, BROKEN, LATER = 200, 400, 401, 413, 500, 503

log = logging.getLogger("exatlas.webhooks")


@runtime_checkable
class ReadsWebhooks(Protocol):
    """A provider whose cloud has its own form for callbacks. Others are taken to send a Job as exatlas writes it."""

    def read_webhook(self, body: bytes, endpoint: str, /) -> Job:
        """Read the body of a callback. Raises ReplyShapeError for what cannot be read."""
        ...


@frozen
class Answer:
    """What became of one callback."""

    status: int
    """The HTTP status to answer with, with an empty body: 200, 400, 401, 413, 500 or 503."""
    job: Job | None = None
    """The job, where the callback was believed."""
    repeated: bool = False
    """Whether it came before, and nothing was done this time."""


class Webhooks:
    """Callbacks of one service: gives out URLs, takes the calls in, and lets the service wait for them.

    It belongs to one event loop and holds no connections. Put it into a route with ``webhook_route`` of
    :mod:`exatlas.web.starlette` or :mod:`exatlas.web.aiohttp`, and hand it to their ``lifespan`` or ``setup``, which
    lend it the application's client; without one it uses the default client.

    Args:
        base_url: Where the cloud reaches the service, such as ``https://app.example/webhooks``. RunPod wants https.
        secrets: Sign the URLs. The first signs, all are accepted: put a new one in front to rotate, and take the old
            one away when its last URL has expired. At least 16 bytes each, the same in all processes of the service.
        confirm: Ask the cloud for the job before believing a callback. Costs a status request each.
        on_job: Hears of every ending once, before the cloud is answered; be quick. When it raises, the cloud is
            answered 500 and comes again, RunPod twice.
        expires_in: How long a URL is good for (seconds or timedelta).
        max_body_bytes: Longest body that is read.
        clock: Judges expiry, and times the waits.

    Raises:
        ValidationError: an argument cannot work.
    """

    def __init__(
        self,
        base_url: str,
        *,
        secrets: Sequence[str | bytes],
        confirm: bool = False,
        on_job: Callable[[Job], Awaitable[None]] | None = None,
        expires_in: float | timedelta = LIFE,
        max_body_bytes: int = MOST_BODY_BYTES,
        clock: Clock | None = None,
    ) -> None:
        arguments.check(
            "Webhooks",
            base_url=checks.web_url(base_url) or _more_than_a_path(base_url),
            secrets=_secrets(secrets),
            confirm=checks.flag(confirm),
            expires_in=checks.positive_span(checks.as_span(expires_in)),
            max_body_bytes=checks.whole(1)(max_body_bytes),
        )
        self._base_url = base_url.rstrip("/")
        self._keys = tuple(secret.encode() if isinstance(secret, str) else secret for secret in secrets)
        self._confirm = confirm
        self._on_job = on_job
        self._life: timedelta = checks.as_span(expires_in)
        self._max_body_bytes = max_body_bytes
        self._clock: Clock = clock or SystemClock()
        self._arrivals = Arrivals()
        self._providers: dict[str, Provider] = {}
        self._atlas: Atlas | None = None

    @property
    def path(self) -> str:
        """The path of the base URL, without a slash at its end."""
        return urlsplit(self._base_url).path

    def use(self, atlas: Atlas) -> None:
        """Confirm, poll and submit through this client. The caller closes it."""
        self._atlas = atlas

    # ---- submitting

    def url_for(
        self,
        endpoint: str,
        *,
        provider: ProviderChoice | None = None,
        expires_in: float | timedelta | None = None,
    ) -> str:
        """A URL for one submission, to pass as ``webhook=``; :meth:`bind` it to the job then. It is a secret.

        :meth:`run_job` does all three.
        """
        life = self._life if expires_in is None else checks.as_span(expires_in)
        arguments.check("url_for", endpoint=checks.text(endpoint), expires_in=checks.positive_span(life))
        known = self._client.provider(provider)
        self._providers[known.name] = known
        ticket = Ticket.new(known.name, endpoint, self._clock.now() + life)
        return self._base_url + ticket.path(self._keys[0])

    def bind(self, url: str, job: Job) -> None:
        """Say which job a URL was submitted with: from now on it speaks for that job only.

        Raises:
            ValidationError: the URL is not one of ours, or is for another provider or endpoint.
        """
        parts = tickets.split(url.removeprefix(self._base_url))
        ticket = tickets.read(self._keys, *parts) if parts else None
        if ticket is None or (ticket.provider, ticket.endpoint) != (job.provider, job.endpoint):
            raise ValidationError(arguments.CALL, ["url: expected one that url_for made for the job's endpoint"])
        lie = self._arrivals.bind(ticket.nonce, _key(job))
        if lie is not None:
            log.warning("a callback had named job %s falsely; its URL was submitted with job %s", lie.id, job.id)

    async def run_job(self, request: JobRequest | None = None, /, **fields: Unpack[RunOptions]) -> Job:
        """Submit a job whose end will be called back. Takes what :meth:`exatlas.Atlas.run_job` takes, but ``webhook``.

        Raises what that raises. After an OutcomeUnknownError, the job's callback still comes if there is a job.
        """
        wanted = arguments.job_request(request, fields)
        arguments.check("run_job", webhook="expected None, because this makes the URL" if wanted.webhook else None)
        ttl = wanted.policy.ttl
        url = self.url_for(
            wanted.endpoint,
            provider=fields.get("provider"),
            expires_in=self._life if ttl is None else max(self._life, ttl + GRACE),
        )
        whom = {name: fields[name] for name in ("provider", "api_key", "base_url") if name in fields}
        job = await self._client.run_job(evolve(wanted, webhook=url), **cast(RunOptions, whom))
        self.bind(url, job)
        return job

    # ---- receiving

    async def receive(self, provider: str, endpoint: str, token: str, body: bytes | AsyncIterable[bytes]) -> Answer:
        """Take one callback in. Never raises for what a stranger sends: the answer says what to reply.

        200 for news, for what came before, and for jobs that have not ended; 401 for a URL that is forged, expired or
        another job's, always the same; 400 for a body that cannot be read; 413 for one that is too long; 503 for what
        cannot be confirmed now, and 500 when ``on_job`` failed: the cloud comes again after these two.

        Safe to cancel: a callback that was not answered is new when it comes again.

        Args:
            provider, endpoint, token: The last three parts of the URL, decoded.
            body: Read only once the URL is proven, and only up to `max_body_bytes`.
        """
        ticket = tickets.read(self._keys, provider, endpoint, token)
        if ticket is None or ticket.expires <= self._clock.now().timestamp():
            log.warning("refused a callback whose URL is %s", "expired" if ticket else "not ours")
            return Answer(REFUSED)
        content = await self._read(body)
        if content is None:
            log.warning("refused a callback for endpoint %s: more than %d bytes", endpoint, self._max_body_bytes)
            return Answer(TOO_LARGE)
        try:
            job = self._parse(ticket, content)
        except (ReplyShapeError, ValidationError, orjson.JSONDecodeError) as error:
            log.warning("cannot read a callback for endpoint %s: %s", endpoint, error)
            return Answer(MALFORMED)
        if (job.provider, job.endpoint) != (provider, endpoint) or not self._arrivals.admits(ticket.nonce, _key(job)):
            log.warning("refused a callback for endpoint %s: its URL is another job's", endpoint)
            return Answer(REFUSED)
        return await self._take(job, len(content)) if job.status.is_terminal else Answer(OK, job)

    async def _read(self, body: bytes | AsyncIterable[bytes]) -> bytes | None:
        """The whole body, or None when it is too long."""
        if isinstance(body, bytes):
            return body if len(body) <= self._max_body_bytes else None
        content = bytearray()
        async for piece in body:
            content += piece
            if len(content) > self._max_body_bytes:
                return None
        return bytes(content)

    def _parse(self, ticket: Ticket, content: bytes) -> Job:
        provider = self._provider(ticket.provider)
        if isinstance(provider, ReadsWebhooks):
            return provider.read_webhook(content, ticket.endpoint)
        return structure(orjson.loads(content), Job)

    async def _take(self, job: Job, size: int) -> Answer:
        """Act on an ending, once."""
        key, status = _key(job), job.status.value
        seen = self._arrivals.seen(key, status)
        if seen is not None:
            return Answer(OK, job, repeated=True) if seen is Seen.TAKEN else Answer(LATER)
        self._arrivals.mark(key, status, Seen.TAKING)
        answer = Answer(LATER)
        try:
            answer = await self._act(job, key, size)
        finally:
            self._arrivals.mark(key, status, Seen.TAKEN if answer.status == OK else None)
        return answer

    async def _act(self, job: Job, key: JobKey, size: int) -> Answer:
        if self._confirm:
            confirmed = await self._confirmed(job)
            if isinstance(confirmed, Answer):
                return confirmed
            job = confirmed
        self._arrivals.arrived(key, job, size)
        if self._on_job is not None:
            try:
                await self._on_job(job)
            except Exception:
                # Supervised boundary: the function is the user's, and the cloud can come again.
                log.exception("on_job failed for job %s", job.id)
                return Answer(BROKEN)
        return Answer(OK, job)

    async def _confirmed(self, job: Job) -> Job | Answer:
        """The job as the cloud has it, or why it is not believed."""
        try:
            async with Deadline(self._clock, CONFIRM_PATIENCE_S):
                found = await self._client.get_job(_ref(job), provider=self._provider(job.provider))
        except NotFoundError:
            log.warning("refused a callback: the cloud does not know job %s", job.id)
            return Answer(REFUSED)
        except (AtlasError, TimeoutError) as error:
            log.warning("a callback for job %s cannot be confirmed now: %s", job.id, error)
            return Answer(LATER)
        if not found.status.is_terminal:
            log.warning("a callback says that job %s has ended, and the cloud that it has not", job.id)
            return Answer(LATER)
        return found

    # ---- waiting

    async def await_webhook(
        self,
        job: str | Job | JobRef,
        /,
        *,
        timeout: float | timedelta = 3600.0,
        poll_every: float | timedelta = 30.0,
        endpoint: str | None = None,
        **options: Unpack[AccountOptions],
    ) -> Job:
        """Wait until a job has ended, by its callback or by asking, and give it however it ended.

        When the time is up, gives the job as it was last seen, as :meth:`exatlas.Atlas.run_job` does. A callback that
        came before is enough. One that never comes costs a status request every ``poll_every`` seconds. A job that was
        submitted elsewhere is asked for at once. Safe to cancel, and safe to repeat.

        Raises:
            NotFoundError: the job has expired, and no callback of it is remembered here.
            AtlasError: asking fails in a way that waiting does not mend.
        """
        named, home = arguments.job_ref("await_webhook", job, endpoint)
        spans = {"timeout": checks.as_span(timeout), "poll_every": checks.as_span(poll_every)}
        arguments.check("await_webhook", **{name: checks.positive_span(span) for name, span in spans.items()})
        choice = options.get("provider")
        key = JobKey(self._client.provider(home if choice is None else choice).name, named.endpoint, named.id)
        last = job if isinstance(job, Job) else None
        result = self._arrivals.result(key) or (last if last and last.status.is_terminal else None)
        if result is not None:
            return result
        patience_s, every_s = (span.total_seconds() for span in spans.values())
        known_here = last is not None and self._arrivals.is_bound(key)
        with self._arrivals.waiting(key) as arrival:
            return await self._wait(
                arrival,
                lambda: self._client.get_job(job, endpoint=endpoint, **options),
                last,
                self._clock.monotonic() + patience_s,
                every_s if known_here else 0.0,
                every_s,
            )

    async def _wait(
        self,
        arrival: asyncio.Future[Job],
        ask: Callable[[], Awaitable[Job]],
        last: Job | None,
        ends_at: float,
        pause_s: float,
        every_s: float,
    ) -> Job:
        while True:
            await self._pause(arrival, min(pause_s, ends_at - self._clock.monotonic()))
            if arrival.done():
                return arrival.result()
            left_s = ends_at - self._clock.monotonic()
            if left_s <= 0:
                break
            last = await self._look(ask, left_s) or last
            if last is not None and last.status.is_terminal:
                return last
            pause_s = every_s
        if last is None:
            raise TransportTimeoutError("the job could not be read in time", operation="await_webhook")
        return last

    async def _pause(self, arrival: asyncio.Future[Job], seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with Deadline(self._clock, seconds):
                    await asyncio.wait([arrival])

    async def _look(self, ask: Callable[[], Awaitable[Job]], left_s: float) -> Job | None:
        """The job as it is, or None where it cannot be said now."""
        try:
            async with Deadline(self._clock, left_s):
                return await ask()
        except TimeoutError:
            return None
        except AtlasError as error:
            if not error.retryable:
                raise
            log.warning("asking for a job failed, and waiting goes on: %s", error)
            return None

    # ---- whom to ask

    @property
    def _client(self) -> Atlas:
        return default_client() if self._atlas is None else self._atlas

    def _provider(self, name: str) -> Provider:
        known = self._providers.get(name)
        if known is not None:
            return known
        try:
            own = self._client.provider()
        except ConfigError:
            return self._client.provider(name)
        return own if own.name == name else self._client.provider(name)


def _key(job: Job) -> JobKey:
    return JobKey(job.provider, job.endpoint, job.id)


def _ref(job: Job) -> JobRef:
    return JobRef(id=job.id, endpoint=job.endpoint)


def _more_than_a_path(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    return "expected a URL without query and fragment" if parts.query or parts.fragment else None


def _secrets(secrets: object) -> str | None:
    """At least one, none too short. None is ever shown."""
    if isinstance(secrets, list | tuple) and secrets:
        raw = [secret.encode() if isinstance(secret, str) else secret for secret in secrets]
        if all(isinstance(secret, bytes) and len(secret) >= SHORTEST_SECRET for secret in raw):
            return None
    return f"expected a list of secrets (str or bytes), each of at least {SHORTEST_SECRET} bytes"

"""The machine's side: who may in. Plain functions of what any server knows about a request."""

import heapq
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from threading import Lock
from typing import Protocol

from exatlas.auth.signing import Secret, Verdict, leeway_s, signature_of, verify_url
from exatlas.auth.tokens import TOKEN_VARIABLES, hash_token, verify_token
from exatlas.clock import SystemClock
from exatlas.errors import ConfigError, ValidationError
from exatlas.protocols import Clock
from exatlas.records import checks

REFUSAL_STATUS = 401
REFUSAL_BODY = b"Unauthorized\n"
REFUSAL_HEADERS: Mapping[str, str] = {
    "content-type": "text/plain; charset=utf-8",
    "www-authenticate": "Bearer",
    "cache-control": "no-store",
}
"""What whoever is refused gets, whatever the reason."""
POLICY_VIOLATION = 1008
"""The close code for a WebSocket that is refused, where no HTTP answer can be given."""

_log = logging.getLogger("exatlas.auth")
_REAL = SystemClock()


class Uses(Protocol):
    """Remembers which signatures were used. Give a :class:`Guard` your own where several processes serve."""

    def first(self, signature: str, until: float, /) -> bool:
        """Whether this is the signature's first use; at once, and for good.

        It may be forgotten after `until`, in seconds since the epoch, because it has expired then.
        """
        ...


class OneTime:
    """Signatures used in this process. Bounded: full of ones that still count, it takes no more, and so lets nobody in.

    Args:
        most: How many it remembers.
    """

    def __init__(self, *, most: int = 100_000, clock: Clock = _REAL) -> None:
        self._most = most
        self._clock = clock
        self._used: set[str] = set()
        self._expiries: list[tuple[float, str]] = []
        self._lock = Lock()

    def first(self, signature: str, until: float, /) -> bool:
        """Whether this is the signature's first use. Safe to call from several threads."""
        now = self._clock.now().timestamp()
        with self._lock:
            while self._expiries and self._expiries[0][0] < now - 1:  # a second counts to its end
                self._used.remove(heapq.heappop(self._expiries)[1])
            if signature in self._used or len(self._used) >= self._most:
                return False
            self._used.add(signature)
            heapq.heappush(self._expiries, (until, signature))
            return True


def check_request(
    method: str,
    target: str | bytes,
    authorization: str | None = None,
    *,
    secrets: Secret | Sequence[Secret],
    client: str | None = None,
    leeway: float | timedelta = 0,
    uses: Uses | None = None,
    clock: Clock = _REAL,
) -> Verdict:
    """Whether a request may in: with the secret as its bearer token, or with a URL that was signed with it.

    A request that has both needs one of them to be good. A WebSocket's upgrade is a request like any other.

    Args:
        target: Path and query as they came in, not decoded. Another form, or one with a `#`, is malformed: servers
            disagree about what such a request is for.
        authorization: The `Authorization` header's value, or None.
        secrets: All that are accepted.
        client: The client, in the word that URLs are bound to.
        leeway: How far the clocks of signer and machine may differ (seconds or timedelta).
        uses: Makes every signed URL good for one use. Bearer tokens are not affected.
    """
    accepted = [secrets] if isinstance(secrets, str | bytes) else secrets
    token = _bearer(authorization)
    if token is not None and _is_one_of(token, accepted):
        return Verdict.GOOD
    if not _is_plain(target):
        return Verdict.MALFORMED
    verdict = verify_url(target, accepted, method=method, client=client, leeway=leeway, clock=clock)
    if verdict is Verdict.MISSING and authorization is not None:
        return Verdict.MALFORMED if token is None else Verdict.WRONG
    if verdict and uses is not None:
        signature, last_s = signature_of(target)
        if not uses.first(signature, last_s + leeway_s(leeway)):
            return Verdict.REPLAYED
    return verdict


class Guard:
    """:func:`check_request` with what stays the same from request to request.

    It never says why: the reason is in the log ``exatlas.auth`` at INFO level, without the URL.

    Args:
        secrets: The machine's secret, or all that are accepted while it is replaced. None takes it from
            ``EXATLAS_PRESHARED_KEY``, now, where a machine finds it that was rented with ``auth=``.
        one_time: Let every signed URL be used once: as far as this process knows, or a :class:`Uses` of your own.
        leeway: How far the clocks of signer and machine may differ (seconds or timedelta).
        env: Read instead of the process's environment.

    Raises:
        ConfigError: there is no secret. Better no server than an open one.
    """

    def __init__(
        self,
        secrets: Secret | Sequence[Secret] | None = None,
        *,
        one_time: bool | Uses = False,
        leeway: float | timedelta = 0,
        clock: Clock = _REAL,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._secrets = _all_of(_from_environment(os.environ if env is None else env) if secrets is None else secrets)
        self._uses = (OneTime(clock=clock) if one_time else None) if isinstance(one_time, bool) else one_time
        self._leeway = timedelta(seconds=leeway_s(leeway))
        self._clock = clock

    def check(
        self, method: str, target: str | bytes, authorization: str | None = None, *, client: str | None = None
    ) -> Verdict:
        """What the request's credentials are worth. Only a good verdict is true."""
        verdict = check_request(
            method,
            target,
            authorization,
            secrets=self._secrets,
            client=client,
            leeway=self._leeway,
            uses=self._uses,
            clock=self._clock,
        )
        if not verdict:
            _log.info("a request was refused: %s", verdict.value, extra={"exatlas.verdict": verdict.value})
        return verdict


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks if it may ask: such requests carry no credentials, ever. Names are in lower case."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _is_plain(target: str | bytes) -> bool:
    raw = target.encode("utf-8", "replace") if isinstance(target, str) else target
    return raw.startswith(b"/") and b"#" not in raw


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _is_one_of(token: str, secrets: Sequence[Secret]) -> bool:
    found = False
    for secret in secrets:
        text = secret if isinstance(secret, str) else secret.decode("utf-8", "surrogateescape")
        found |= bool(text) and verify_token(token, hash_token(text))
    return found


def _from_environment(env: Mapping[str, str]) -> str:
    name = TOKEN_VARIABLES[0]
    if not env.get(name):
        raise ConfigError(f"no secret: {name} is not set; rent the machine with auth='bearer', or pass secrets=")
    return env[name]


def _all_of(secrets: Secret | Sequence[Secret]) -> tuple[Secret, ...]:
    every = (secrets,) if isinstance(secrets, str | bytes) else checks.as_tuple(secrets)
    if not isinstance(every, tuple) or not every or not all(isinstance(one, str | bytes) and one for one in every):
        raise ValidationError("Guard", ["secrets: expected a non-empty string, or several"])
    return every

"""Calls webhooks as RunPod does: one POST per attempt, any 2xx is an answer, redirects are not followed.

Source: deliveries that third parties captured in 2026-07: user agent, `traceparent`, `input` and `webhook` in the body.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterable
from io import BytesIO

import aiohttp
import orjson

from exatlas.local.desk import Desk
from exatlas.providers.runpod.queue import Delivery, Queue

log = logging.getLogger("exatlas.local")

USER_AGENT = "Go-http-client/2.0"
PATIENCE_S = 10.0
"""How long a receiver may take; RunPod's own figure is not known."""


class Courier:
    """Delivers in the background, each call in a task of its own."""

    def __init__(self, desk: Desk, session: aiohttp.ClientSession) -> None:
        self._desk = desk
        self._session = session
        self._calls: set[asyncio.Task[None]] = set()

    def deliver(self, deliveries: Iterable[Delivery]) -> None:
        """Start the calls and tell the queue of each how it went."""
        for delivery in deliveries:
            call = asyncio.ensure_future(self._deliver(delivery))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def aclose(self) -> None:
        """Drop what is under way."""
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)

    async def _deliver(self, delivery: Delivery) -> None:
        accepted = await self._call(delivery)
        self._desk.ask(Queue.delivery_ended, delivery, accepted=accepted)

    async def _call(self, delivery: Delivery) -> bool:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
        }
        try:
            async with self._session.post(
                delivery.url,
                data=BytesIO(orjson.dumps(delivery.body)),  # results can be megabytes, which aiohttp wants as a file
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
            ) as response:
                outcome = f"answered {response.status}"
                accepted = 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: a URL that only looked like one
            outcome, accepted = f"failed: {type(error).__name__}", False
        if not accepted:  # the URL may carry a secret, so the job names the call
            log.warning("webhook of job %s, attempt %d, %s", delivery.job_id, delivery.attempt, outcome)
        return accepted

"""The built-in worker as a process: ``python -m exatlas.local.worker handler.py``.

For handler files that do not start a worker of their own. It speaks the protocol of the `runpod` package and is told
its endpoint by the same variables, so it can stand in for it.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from exatlas.local.handlers import Options
from exatlas.local.working import Worker

ATTEMPTS = 3
PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
POLL_S = 90.0
PING_EVERY_S = 1.0


class HttpLink:
    """A :class:`exatlas.local.working.Link` over the URLs in a worker's environment."""

    def __init__(self, session: aiohttp.ClientSession, env: dict[str, str]) -> None:
        worker = env["RUNPOD_POD_ID"]
        self._session = session
        self._take_url = env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", worker)
        self._done_url = env["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", worker)
        self._stream_url = env["RUNPOD_WEBHOOK_POST_STREAM"].replace("$RUNPOD_POD_ID", worker)
        self._ping_url = env["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", worker)

    async def take(self, limit: int, held: list[str]) -> list[dict[str, Any]]:
        """Ask for work until the server answers, whatever goes wrong on the way."""
        url = self._take_url
        if limit > 1:
            url = url.replace("/job-take/", "/job-take-batch/") + f"&batch_size={limit}"
        found = await self._poll(f"{url}&job_in_progress={int(bool(held))}")
        return [found] if isinstance(found, dict) else found or []

    async def stops(self, _: list[str]) -> list[str]:
        """Ask for jobs to stop."""
        found = await self._poll(self._take_url.replace("/job-take/", "/job-stop/"))
        if not found:
            await asyncio.sleep(PAUSE_S)  # a server that does not hold the request must not be hammered
        return list(found["jobsToStop"]) if found else []

    async def stream(self, job_id: str, text: str) -> None:
        """Post one chunk. One that cannot be delivered is lost, and said so in the log."""
        await self._post(self._stream_url.replace("$ID", job_id) + "&isStream=false", text)

    async def done(self, job_id: str, text: str) -> None:
        """Post the end."""
        await self._post(self._done_url.replace("$ID", job_id) + "&isStream=false", text)

    async def ping(self, worker: Worker) -> None:
        """Tell the server, again and again, that this worker lives and which jobs it has in hand."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                params = {"job_id": ",".join(worker.held)}
                async with self._session.get(self._ping_url, params=params):
                    pass
            await asyncio.sleep(PING_EVERY_S)

    async def _poll(self, url: str) -> Any:
        pause_s = PAUSE_S
        while True:
            try:
                async with self._session.get(url) as response:
                    response.raise_for_status()
                    return None if response.status == 204 else await response.json()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                _complain(f"asking the endpoint failed: {type(error).__name__}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _post(self, url: str, text: str) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._session.post(url, data=text.encode()) as response:
                    if response.status < 500:
                        if response.status >= 400:
                            _complain(f"the endpoint refused a report: {await response.text()}")
                        return
            except (aiohttp.ClientError, TimeoutError) as error:
                _complain(f"reporting to the endpoint failed: {type(error).__name__}")
            if attempt < ATTEMPTS:
                await asyncio.sleep(PAUSE_S * attempt)


def _complain(text: str) -> None:
    sys.stderr.write(f"exatlas worker: {text}\n")
    sys.stderr.flush()


def load_handler(path: Path) -> Callable[[dict[str, Any]], Any]:
    """Import the file as Python would import a module beside it, and give its `handler`."""
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    handler = getattr(module, "handler", None)
    if not callable(handler):
        raise SystemExit(f"{path} has no `handler` that can be called")
    return handler  # type: ignore[no-any-return]  # what the user's module holds


async def work(options: Options, concurrency: int, env: dict[str, str]) -> None:
    """Work until SIGTERM or SIGINT, and then until the jobs in hand are done."""
    timeout = aiohttp.ClientTimeout(total=POLL_S)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        link = HttpLink(session, env)
        worker = Worker(link, options, concurrency)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.retire)
        pings = asyncio.create_task(link.ping(worker))
        await worker.run()
        pings.cancel()
        await asyncio.wait([pings])


def main() -> None:
    """The command line of a worker process. Meant for the supervisor, but nothing stops a person."""
    parser = argparse.ArgumentParser(prog="python -m exatlas.local.worker", description="Run a handler's jobs.")
    parser.add_argument("path", type=Path, help="a Python file that defines `handler`")
    parser.add_argument("--concurrency", type=int, default=1, help="jobs at once (default 1)")
    parser.add_argument("--aggregate", action="store_true", help="a generator's chunks are also its output")
    arguments = parser.parse_args()
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        parser.error(f"not started by an endpoint: {', '.join(missing)} not set")
    options = Options(load_handler(arguments.path), os.environ["RUNPOD_POD_ID"], arguments.aggregate)
    asyncio.run(work(options, arguments.concurrency, dict(os.environ)))


_NEEDED = (
    "RUNPOD_POD_ID",
    "RUNPOD_WEBHOOK_GET_JOB",
    "RUNPOD_WEBHOOK_POST_OUTPUT",
    "RUNPOD_WEBHOOK_POST_STREAM",
    "RUNPOD_WEBHOOK_PING",
)

if __name__ == "__main__":
    main()

"""A fake cloud on this machine, for as long as the command runs, and its bill at the end."""

import asyncio
import shlex
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from typing import Annotated, Any

from attrs import asdict
from cyclopts import Parameter, validators
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from exatlas.cli import show
from exatlas.cli.exits import UsageError
from exatlas.cli.options import JsonOption
from exatlas.cli.shell import ShellHere
from exatlas.client.atlas import Atlas
from exatlas.clock import ManualClock, SystemClock
from exatlas.config import PROVIDER_VARIABLE
from exatlas.errors import AtlasError, ConfigError
from exatlas.fakes import Case, FakeCloud, FaultPlan, InvoiceLine
from exatlas.messages import HttpCall
from exatlas.testing.cases import module_of
from exatlas.testing.clocks import FastClock
from exatlas.testing.clouds import serve
from exatlas.transport.inprocess import InProcessTransport


async def fake(
    name: Annotated[str, Parameter(name="NAME", help="The provider whose cloud it is.")],
    /,
    *,
    port: Annotated[int, Parameter(help="0 takes any free one.")] = 0,
    api_key: Annotated[str | None, Parameter(help="What clients must present; without it, one is made up.")] = None,
    boot_s: Annotated[
        float | None, Parameter(help="Seconds that a machine takes to run.", validator=validators.Number(gte=0))
    ] = None,
    speed: Annotated[
        float, Parameter(help="How many seconds pass in one; 1 unless said.", validator=validators.Number(gt=0))
    ] = 1.0,
    fault_rate: Annotated[
        float,
        Parameter(help="The chance that a request goes wrong, from 0 to 1.", validator=validators.Number(gte=0, lte=1)),
    ] = 0.0,
    seed: Annotated[int, Parameter(help="Which requests go wrong, and how.")] = 0,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Serve a fake cloud until Ctrl-C, then tell what its machines have cost."""
    module = _module(name)
    cloud: FakeCloud = module.fake(FastClock(speed, SystemClock().now()))
    cloud.faults = FaultPlan(seed=seed, rate=fault_rate)
    cloud.api_key = api_key or cloud.api_key
    if boot_s is not None:
        if not hasattr(cloud, "boot_s"):
            raise UsageError(f"--boot-s: machines of a fake {name} take no time to boot")
        cloud.boot_s = boot_s
    case: Case = module.case_of(cloud)
    with shell.when_interrupted("closing the cloud"):
        async with _listening(cloud, port) as origin:
            variables = _variables(case, cloud, origin)
            if as_json:
                shell.json({"url": origin, "api_key": cloud.api_key, "env": variables})
            else:
                shell.line(f"serving a fake {cloud.provider} at {origin} (Ctrl-C ends it)")
                for line in _directions(case, variables, await _example(module, cloud, origin)):
                    shell.line(line)
            try:
                await asyncio.Event().wait()
            finally:
                bill = cloud.invoice()
                if as_json:
                    shell.json({"invoice": [asdict(line) | {"usd": str(line.usd)} for line in bill]})
                else:
                    shell.show(_invoice(bill))


def _module(name: str) -> Any:
    try:
        return module_of(name)
    except ConfigError as error:
        raise UsageError(str(error)) from error


@asynccontextmanager
async def _listening(cloud: FakeCloud, port: int) -> AsyncGenerator[str, None]:
    async with AsyncExitStack() as stack:
        try:
            origin = await stack.enter_async_context(serve(cloud.handle, port=port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"cannot listen on 127.0.0.1:{port}: {error}") from error
        yield origin


def _variables(case: Case, cloud: FakeCloud, origin: str) -> dict[str, str]:
    """The environment that leads the provider here."""
    settings, urls = case.provider.settings, cloud.base_urls(origin)
    found = {PROVIDER_VARIABLE: cloud.provider}
    found |= dict.fromkeys(settings.key_env[:1], cloud.api_key)
    found |= {setting.env: urls[name] for name, setting in settings.urls.items() if setting.env and name in urls}
    return found


def _directions(case: Case, variables: dict[str, str], example: HttpCall | None) -> Iterator[str]:
    yield from (f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    if example is not None:
        yield _curl(example)
    if case.jobs is not None:
        payload = show.output(case.jobs.counting(3))
        yield f"exatlas job run {case.jobs.endpoint} --input {shlex.quote(payload)} --stream"


async def _example(module: Any, cloud: FakeCloud, origin: str) -> HttpCall | None:
    """The first request of listing the machines, as the provider would send it here. Another account answers it."""
    other: FakeCloud = module.fake(ManualClock(auto=True))
    other.api_key = cloud.api_key
    calls: list[HttpCall] = []

    async def answer(call: HttpCall) -> Any:
        calls.append(call)
        return await other.handle(call)

    async with Atlas(
        other.provider,
        credentials={other.provider: other.api_key},
        base_urls={other.provider: other.base_urls(origin)},
        transport=InProcessTransport(answer),
        clock=other.clock,
        env={},
    ) as atlas:
        with suppress(AtlasError):
            await atlas.list_compute()
    return calls[0] if calls else None


def _curl(call: HttpCall) -> str:
    words = ["curl", *(["-X", call.method] if call.method != "GET" else [])]
    for name, value in call.headers.items():
        if name != "user-agent":
            words += ["-H", f"{name}: {value}"]
    words += ["-d", call.body.decode()] if call.body else []
    return shlex.join([*words, call.url])


def _invoice(bill: list[InvoiceLine]) -> RenderableType:
    table = Table("ID", "NAME", "STATUS", "HOURS", "$", "", box=None, pad_edge=False, header_style="bold")
    for line in bill:
        figures = (f"{line.seconds / 3600:.3f}", f"{line.usd:.4f}", "still bills" if line.open else "")
        table.add_row(*map(Text, (line.compute_id, line.name, line.status, *figures)))
    total = sum((line.usd for line in bill), Decimal(0))
    still = sum(line.open for line in bill)
    return Group(*([table] if bill else []), Text(f"invoice: {total:.4f} $, {still} of {len(bill)} still bill"))

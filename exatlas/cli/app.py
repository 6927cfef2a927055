"""Commands, their arguments, and what their endings mean to a shell."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table

from exatlas import local
from exatlas.capabilities import Capability
from exatlas.cli.demo import play
from exatlas.errors import AtlasError, ErrorKind
from exatlas.providers import builtins

USAGE = 2
INTERRUPTED = 130
EXIT_CODES = {kind: 10 + number for number, kind in enumerate(ErrorKind)}
"""Exit code by kind of error, in the order of :class:`exatlas.ErrorKind`; stable, because that order is."""

app = App(name="exatlas", help="Rent GPUs and run serverless jobs on several clouds.", result_action="return_value")


@app.command
async def demo(*, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Start a local serverless endpoint with a real worker process, and stream jobs from it."""
    await play(Console(), as_json=as_json)


@app.command
async def serve(
    handler: Path, *, port: int = 0, endpoint: str = "local", workers: int = 1, concurrency: int = 1, api_key: str = ""
) -> None:
    """Serve a worker script as RunPod would, on loopback, until Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    async with local.serve(
        handler,
        port=port,
        endpoint=endpoint,
        workers=workers,
        concurrency=concurrency,
        api_key=api_key or None,
        on_line=lambda line: console.print(line, markup=False),
    ) as runtime:
        console.print(f"serving {handler} at {runtime.base_url}/{runtime.endpoint} (Ctrl-C ends it)")
        console.print(
            f"curl -H 'Authorization: Bearer {runtime.api_key}' -d '{{\"input\": {{\"n\": 3}}}}' "
            f"{runtime.base_url}/{runtime.endpoint}/run",
            markup=False,
        )
        await asyncio.Event().wait()


@app.command
def providers(*, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Show which provider can do what."""
    found = sorted(builtins(), key=lambda provider: provider.name)
    if as_json:
        sys.stdout.write(json.dumps({cls.name: sorted(cls.capabilities) for cls in found}) + "\n")
        return
    table = Table("capability", *(cls.name for cls in found))
    for capability in Capability:
        table.add_row(capability.value, *("yes" if capability in cls.capabilities else "no" for cls in found))
    Console().print(table)


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit code."""
    try:
        app(arguments, exit_on_error=False)
    except CycloptsError:
        return USAGE
    except AtlasError as error:
        sys.stderr.write(f"exatlas: {error}\n")
        return EXIT_CODES[error.kind]
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0

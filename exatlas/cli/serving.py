"""An endpoint on this machine, for as long as the command runs."""

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from exatlas import local
from exatlas.cli.options import JsonOption
from exatlas.cli.shell import ShellHere


async def serve(
    handler: Annotated[Path, Parameter(name="FILE", help="A worker script, or a file that defines `handler`.")],
    /,
    *,
    port: Annotated[int, Parameter(help="0 takes any free one.")] = 0,
    endpoint: Annotated[str, Parameter(help="The endpoint's id; local unless said.")] = "local",
    workers: Annotated[int, Parameter(help="Worker processes; one unless said.")] = 1,
    concurrency: Annotated[int, Parameter(help="Jobs at once in each; worker scripts say it themselves.")] = 1,
    api_key: Annotated[str | None, Parameter(help="What clients must present; without it, one is made up.")] = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> None:
    """Serve a handler file until Ctrl-C. What the workers print goes to the standard error output."""
    runtime = local.serve(
        handler,
        port=port,
        endpoint=endpoint,
        workers=workers,
        concurrency=concurrency,
        api_key=api_key,
        on_line=lambda line: shell.err.print(line, markup=False, soft_wrap=True),
    )
    with shell.when_interrupted("ending the workers"):
        async with runtime:
            where = f"{runtime.base_url}/{runtime.endpoint}"
            if as_json:
                shell.json({"url": where, "endpoint": runtime.endpoint, "api_key": runtime.api_key})
            else:
                shell.line(f"serving {handler} at {where} (Ctrl-C ends it)")
                header = f"-H 'Authorization: Bearer {runtime.api_key}'"
                shell.line(f'curl {header} -d \'{{"input": {{"n": 3}}}}\' {where}/run')
            await asyncio.Event().wait()

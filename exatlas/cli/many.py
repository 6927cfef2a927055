"""One question to several providers, and one answer."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from exatlas.cli.exits import NOT_WHOLLY, code_of
from exatlas.cli.shell import Shell
from exatlas.client.atlas import Atlas

T = TypeVar("T")


async def ask_all(
    atlas: Atlas, shell: Shell, providers: Iterable[str] | None, ask: Callable[[str | None], Awaitable[list[T]]]
) -> tuple[list[T], int]:
    """What all of them gave, in their order, and the exit code. With one provider its error is raised.

    Those that fail are told as notes; the code is that of the first failure when nobody answered.
    """
    asked = list(dict.fromkeys(providers or ()))
    if len(asked) < 2:
        return await ask(asked[0] if asked else None), 0
    outcomes = await atlas.fan_out(ask, asked)
    failures = [outcome for outcome in outcomes if outcome.error is not None]
    for failure in failures:
        shell.note(str(failure.error) or f"{failure.input}: {type(failure.error).__name__}")
    found = [record for outcome in outcomes for record in outcome.value or ()]
    if len(failures) == len(outcomes):
        return found, code_of(failures[0].error)
    return found, NOT_WHOLLY if failures else 0

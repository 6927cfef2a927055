"""The ledger that a command is about."""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from exatlas.cli.exits import UsageError
from exatlas.errors import ConfigError

if TYPE_CHECKING:
    from exatlas.ledger.sql import SqlLedger

LEDGER_VARIABLE = "EXATLAS_LEDGER"

LedgerOption = Annotated[
    str | None,
    Parameter(help=f"sqlite:///machines.db, postgresql://user@host/name …; without it, {LEDGER_VARIABLE} says."),
]
OwnerOption = Annotated[str, Parameter(help="Whose machines: the owner that the client was made with.")]


def opened(url: str | None) -> "SqlLedger":
    """The ledger at a URL, or where the environment says.

    Raises:
        UsageError: neither says where.
        ConfigError: what it needs is not installed, or the URL is wrong.
    """
    found = url or os.environ.get(LEDGER_VARIABLE)
    if not found:
        raise UsageError(f"which ledger? say --ledger URL, or set {LEDGER_VARIABLE}")
    try:
        sql = import_module("exatlas.ledger.sql")
    except ModuleNotFoundError as error:
        extra = "postgres" if found.startswith("postgres") else "sqlite"
        raise ConfigError(f"a ledger needs {error.name}: pip install 'exatlas[{extra}]'") from error
    ledger: SqlLedger = sql.SqlLedger(found)
    # SQLite would make a new file, and by an empty ledger every machine is nobody's.
    path = found.partition(":///")[2].partition("?")[0]
    if found.startswith("sqlite") and not Path(path).exists():
        raise UsageError(f"there is no ledger at {path or found}")
    return ledger

"""Every kind of ledger, a real PostgreSQL among them that the tests start themselves."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from exatlas.ledger import MemoryLedger, SqlLedger
from exatlas.records.launch import Launch

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("memory", "sqlite", "postgres")


def _server() -> Path | None:
    """Where PostgreSQL's programs are, if anywhere."""
    homes = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    return next((home for home in homes if (home / "initdb").exists() and (home / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL of our own on a socket in a folder: nothing of it is on any network."""
    home = _server()
    if home is None:
        pytest.skip("PostgreSQL's server is not installed")
    # Not below pytest's own folder, which only its owner may enter.
    with TemporaryDirectory(prefix="exatlas-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        as_somebody = {}
        if os.getuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres")
            as_somebody = {"user": "postgres"}
        data = folder / "data"
        run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **as_somebody}
        subprocess.run([home / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-N"], **run)
        options = f"-k {folder} -c listen_addresses='' -c shared_buffers=16MB"
        subprocess.run([home / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"], **run)
        try:
            yield f"postgresql://tests@/postgres?host={folder}"
        finally:
            subprocess.run([home / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], **run)


@pytest.fixture
def sql_url(request, tmp_path) -> str:
    """The address of an empty SQL ledger, of the kind that the test is parametrised with."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return _emptied(request.getfixturevalue("postgres_url"))


def _emptied(url: str) -> str:
    import psycopg  # noqa: PLC0415 - only where there is a server

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


@pytest.fixture(params=KINDS)
async def ledger(request, tmp_path):
    """An empty ledger of each kind."""
    if request.param == "memory":
        made = MemoryLedger()
    elif request.param == "sqlite":
        made = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    else:
        made = SqlLedger(_emptied(request.getfixturevalue("postgres_url")))
    yield made
    await made.aclose()


@pytest.fixture
def a_launch():
    """Makes launches."""

    def make(launch_id="a1b2c3d4e5f6", **fields) -> Launch:
        given = {"owner": "tests", "provider": "memory", "account": "0123", "intended_at": START, "updated_at": START}
        return Launch(**{"launch_id": launch_id, **given, **fields})

    return make

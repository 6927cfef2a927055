"""A PostgreSQL of our own for as long as it is needed: for the ledgers' benchmarks, and for their tests."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def programs() -> Path | None:
    """Where PostgreSQL's programs are, if anywhere."""
    homes = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    return next((home for home in homes if (home / "initdb").exists() and (home / "postgres").exists()), None)


@contextmanager
def postgres(home: Path) -> Iterator[str]:
    """Give the URL of a new and empty server, on a socket in a folder: nothing of it is on any network."""
    # Not below a folder that only its owner may enter, such as pytest's.
    with TemporaryDirectory(prefix="exatlas-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        as_somebody = {}
        if os.getuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres")
            as_somebody = {"user": "postgres"}
        data = folder / "data"
        run: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **as_somebody}
        subprocess.run([home / "initdb", "-D", data, "-U", "exatlas", "-A", "trust", "-N"], **run)
        options = f"-k {folder} -c listen_addresses='' -c shared_buffers=16MB"
        subprocess.run([home / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"], **run)
        try:
            yield f"postgresql://exatlas@/postgres?host={folder}"
        finally:
            subprocess.run([home / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], **run)

"""Sample tables for every cloud: replies as it sends them, with what we must make of them.

A test of a provider that takes an argument named ``<folder>_sample`` runs once for every file in ``samples/<folder>``
beside it, and one that takes ``judged_sample`` for every file that names an operation of the published document.
"""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import frozen

from exatlas.messages import HttpReply


@frozen
class Sample:
    """One reply as the cloud sends it, and what we must make of it."""

    name: str
    reply: HttpReply
    body: Any
    expect: dict[str, Any]
    source: str
    spec: str | None
    """The operation of the published document whose reply this is; None where it is none of them."""


def load(path: Path) -> Sample:
    case = json.loads(path.read_text())
    body = case.get("body")
    content = case["text"].encode() if "text" in case else orjson.dumps(body)
    headers = {"content-type": "application/json", **case.get("headers", {})}
    reply = HttpReply(status=case.get("status", 200), headers=headers, body=content)
    assert case["source"], path
    assert case["date"], path
    return Sample(path.stem, reply, body, case.get("expect", {}), case["source"], case.get("spec"))


def samples(folder: Path) -> list[Sample]:
    found = [load(path) for path in sorted(folder.glob("*.json"))]
    assert found, f"no samples in {folder}"
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    home = Path(metafunc.module.__file__).parent / "samples"
    for name in metafunc.fixturenames:
        if name == "judged_sample":
            folders = sorted(path for path in home.iterdir())
            judged = {f"{path.name}-{case.name}": case for path in folders for case in samples(path) if case.spec}
            metafunc.parametrize(name, list(judged.values()), ids=list(judged))
        elif name.endswith("_sample"):
            cases = samples(home / name.removesuffix("_sample"))
            metafunc.parametrize(name, cases, ids=[case.name for case in cases])

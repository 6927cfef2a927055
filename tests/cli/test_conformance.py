"""`exatlas conformance`: what it takes for a target, what it shows, and its codes."""

import json
import sys

import pytest

SKIPPED = "\u2013"

MODULES = {
    "healthy": """
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.memory.case import case

cloud = MemoryProvider()
""",
    "caseless": """
from exatlas.providers.memory import MemoryProvider

class Caseless(MemoryProvider):
    name = "caseless"

class Boastful(MemoryProvider):
    name = "boastful"
    stop = property()

class Choosy(MemoryProvider):
    name = "choosy"
    def __init__(self, region):
        super().__init__()

nothing = 7
""",
    "broken": """
from contextlib import asynccontextmanager
from exatlas.providers.memory import MemoryProvider
from exatlas.providers.memory import case as healthy

class Broken(MemoryProvider):
    name = "broken"
    async def terminate(self, compute_id, ctx, /):
        pass

@asynccontextmanager
async def case():
    async with healthy.case(Broken) as given:
        yield given
""",
    "sick": "import no_such_module_at_all\n",
}


@pytest.fixture(autouse=True)
def _modules(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    for package, place in (("beside", "case"), ("below", "testing")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "provider.py").write_text(MODULES["broken"].partition("@async")[0])
        other = MODULES["broken"].partition("class Broken")
        text = f"{other[0]}from {package}.provider import Broken\n\n@async{MODULES['broken'].partition('@async')[2]}"
        (tmp_path / package / f"{place}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in list(sys.modules):
        if name.partition(".")[0] in (*MODULES, "beside", "below"):
            del sys.modules[name]


def test_checks_stand_by_the_capability_they_need(invoke, tmp_path):
    path = tmp_path / "report.json"
    ended = invoke(
        *("conformance", "memory", "--json", path),
        *("--check", "a_lost_reply_never_repeats_a_chunk", "--check", "stops_and_starts"),
        *("--check", "terminates"),
    )
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split(None, 3) for line in ended.out.splitlines()]
    assert rows[1][:2] == ["every", "provider"]
    assert ["serverless", SKIPPED] in [row[:2] for row in rows]
    assert ["stop_start", "✓", "stops_and_starts"] in [row[:3] for row in rows]
    assert "nothing travels in memory" in ended.out, "why a check was skipped"
    assert ended.out.splitlines()[-1] == "memory: 2 passed, 0 failed, 1 skipped"
    report = json.loads(path.read_text())
    assert report["counts"] == {"passed": 2, "failed": 0, "skipped": 1}
    assert [result["verdict"] for result in report["results"]] == ["skipped", "passed", "passed"]
    assert {"python", "exatlas", "aiohttp", "attrs"} <= set(report["versions"])
    assert "stop_start" in report["capabilities"]


@pytest.mark.parametrize("target", ["broken:case", "broken:Broken", "beside.provider:Broken", "below.provider:Broken"])
def test_a_check_that_fails_is_told_with_its_rule_and_reason(invoke, target):
    ended = invoke("conformance", target, "--check", "terminates", "--check", "declares_what_it_has")
    assert ended.code == 1
    assert "✗ terminates\n" in ended.out
    assert "the machine is still rented" in ended.out
    assert ended.out.splitlines()[-1] == "broken: 1 passed, 1 failed, 0 skipped"


def test_a_module_and_an_instance_are_found_by_their_case(invoke):
    assert invoke("conformance", "healthy:cloud", "--check", "terminates").out.endswith(
        "memory: 1 passed, 0 failed, 0 skipped\n"
    )


def test_without_a_case_only_the_shape_is_tried(invoke):
    ended = invoke("conformance", "caseless:Caseless")
    assert ended.code == 0
    assert "no case is in caseless, caseless.case, caseless.testing" in ended.out
    *_, last = ended.out.splitlines()
    passed, failed, skipped = (int(part.split()[0]) for part in last.removeprefix("caseless: ").split(", "))
    assert (passed, failed) == (4, 0)
    assert skipped > 40


def test_a_shape_that_is_wrong_fails_without_a_cloud(invoke):
    ended = invoke("conformance", "caseless:Boastful", "--check", "has_what_it_declares")
    assert ended.code == 1
    assert "'stop_start' is declared, and stop is missing" in ended.out


@pytest.mark.parametrize(
    "target", ["runpod", "exatlas.providers.runpod.case:case", "exatlas.providers.runpod:RunPodProvider"]
)
def test_over_sockets(invoke, target):
    ended = invoke("conformance", target, "--loopback", "--check", "terminates")
    assert ended.code == 0
    assert ended.out.endswith("runpod: 1 passed, 0 failed, 0 skipped\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-provider"], "no provider is named 'no-such-provider'"),
        (["no.such:case"], "'no.such:case' cannot be found"),
        (["caseless:nothing"], "neither a provider nor"),
        (["caseless:"], "cannot be found"),
        (["caseless:Choosy"], "cannot be made without arguments; name an instance"),
        (["sick:case"], "No module named 'no_such_module_at_all'"),
        (["memory", "--loopback"], "brings no fake that can be served"),
        (["memory", "--check", "terminate"], "did you mean terminates"),
        (["memory", "--check", "terminates", "--json", "/no/such/folder/file"], "cannot write"),
    ],
)
def test_wrong_usage_is_2(invoke, arguments, words):
    ended = invoke("conformance", *arguments)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_a_case_of_another_provider_is_refused(invoke, tmp_path):
    (tmp_path / "caseless.py").write_text(MODULES["caseless"] + MODULES["healthy"])
    ended = invoke("conformance", "caseless:Caseless", "--check", "terminates")
    assert ended.code == 2
    assert "the case in caseless tries MemoryProvider, not Caseless" in ended.err


def test_what_goes_wrong_on_purpose_is_not_told(invoke):
    ended = invoke("conformance", "memory")
    assert (ended.code, ended.err) == (0, "")

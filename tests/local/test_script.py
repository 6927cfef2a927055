import importlib.util
import re

import pytest

from exatlas.errors import ConfigError
from exatlas.local.script import WorkerKind, choose_worker


@pytest.fixture
def write(tmp_path):
    def write(source):
        path = tmp_path / "handler.py"
        path.write_text(source)
        return path

    return write


@pytest.fixture(params=[True, False])
def has_runpod(request, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if request.param else None)
    return request.param


START = "runpod.serverless.start({'handler': handler})\n"


@pytest.mark.parametrize(
    "source",
    [
        "import runpod\n" + START,
        "import runpod.serverless as s\ns.start({})\n",
        "from runpod import serverless\nserverless.start({})\n",
        "from runpod.serverless import start\nstart({})\n",
        "def handler(job): ...\nif __name__ == '__main__':\n    import runpod\n    " + START,
        "def main():\n    from runpod import serverless as sls\n    sls.start({})\nmain()\n",
    ],
)
def test_a_file_that_starts_a_worker_is_run_as_it_is(write, source, has_runpod):
    if has_runpod:
        assert choose_worker(write(source), "auto") is WorkerKind.RUNPOD
    else:
        with pytest.raises(ConfigError, match="needs the runpod package, which is not installed"):
            choose_worker(write(source), "auto")


@pytest.mark.parametrize(
    "source",
    [
        "def handler(job): ...\n",
        "async def handler(job): ...\n",
        "handler = print\n",
        "handler: object = print\n",
        "from elsewhere import handler\n",
        "from elsewhere import work as handler\n",
        "class handler: ...\n",
        "import threading\ndef handler(job): threading.Thread().start()\n",
        "import runpod\ndef handler(job): runpod.serverless.progress_update(job, 1)\n",
    ],
)
def test_a_file_that_only_defines_a_handler_gets_the_built_in_worker(write, source, has_runpod):
    assert choose_worker(write(source), "auto") is WorkerKind.BUILTIN


@pytest.mark.parametrize(
    "source", ["", "def handle(job): ...\n", "def f():\n    handler = 1\n", "from .runpod import start\nstart()\n"]
)
def test_a_file_that_is_neither_is_refused(write, source):
    with pytest.raises(ConfigError, match=re.escape("handler.py neither calls runpod.serverless.start nor defines")):
        choose_worker(write(source), "auto")


def test_the_caller_may_know_better(write):
    assert choose_worker(write("import mine\nmine.main()\n"), "runpod") is WorkerKind.RUNPOD
    both = "def handler(job): ...\nif __name__ == '__main__':\n    import runpod\n    " + START
    assert choose_worker(write(both), "builtin") is WorkerKind.BUILTIN
    with pytest.raises(ConfigError, match="does not define `handler`"):
        choose_worker(write("x = 1\n"), "builtin")
    with pytest.raises(ConfigError, match="expected auto, runpod or builtin, got 'docker'"):
        choose_worker(write("x = 1\n"), "docker")


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the handler file .*missing\.py: No such file"):
        choose_worker(tmp_path / "missing.py", "auto")
    with pytest.raises(ConfigError, match="cannot read the handler file"):
        choose_worker(tmp_path, "auto")
    with pytest.raises(ConfigError, match=r"is not Python: .*line 1"):
        choose_worker(write("def handler(:\n"), "auto")
    with pytest.raises(ConfigError, match="is not Python"):
        choose_worker(write("\0"), "auto")

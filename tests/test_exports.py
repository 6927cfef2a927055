"""The public names: the table, the stub and the modules agree, and importing the package costs nothing."""

import ast
import importlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import exatlas

STUB = ast.parse((Path(exatlas.__file__).parent / "__init__.pyi").read_text())


def stub_imports() -> dict[str, str]:
    """Name -> module, as the stub has it."""
    return {alias.asname: node.module for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def stub_all() -> list[str]:
    for node in STUB.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError("the stub has no __all__")


def test_the_stub_says_what_the_table_says():
    imports = stub_imports()
    assert imports.pop("providers") == "exatlas"
    assert imports == exatlas._MODULES


def test_the_stub_lists_every_name():
    assert sorted(stub_all()) == sorted(exatlas.__all__)


@pytest.mark.parametrize("name", exatlas.__all__)
def test_every_name_is_what_its_module_has(name):
    assert getattr(exatlas, name) is getattr(importlib.import_module(exatlas._MODULES[name]), name)


@pytest.mark.parametrize("name", exatlas.__all__)
def test_every_function_and_class_says_what_it_is_for(name):
    thing = getattr(exatlas, name)
    if callable(thing) and not hasattr(thing, "__origin__") and name not in {"Credential", "Hook"}:
        assert thing.__doc__


def test_every_error_is_public():
    from_module = {
        name
        for name, thing in vars(importlib.import_module("exatlas.errors")).items()
        if isinstance(thing, type) and issubclass(thing, exatlas.AtlasError)
    }
    assert from_module <= set(exatlas.__all__)


def test_dir_shows_the_names_before_they_are_loaded():
    assert {*exatlas.__all__, "__version__", "providers"} <= set(dir(exatlas))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'spawn_computer'"):
        _ = exatlas.spawn_computer


def test_the_version_is_the_distributions():
    assert exatlas.__version__ == version("exatlas")


def test_star_gives_the_public_names():
    names: dict[str, object] = {}
    exec("from exatlas import *", names)
    assert set(exatlas.__all__) <= set(names)


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has loaded after the code, beyond what it loads for itself."""
    script = f"import sys; before = set(sys.modules)\n{code}\nprint('\\n'.join(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_loads_nothing_else():
    loaded = modules_after("import exatlas")
    assert {name for name in loaded if name.startswith("exatlas")} == {"exatlas"}
    assert not {name.partition(".")[0] for name in loaded} & {
        "aiohttp", "anyio", "asyncio", "attrs", "attr", "cattrs", "orjson", "ssl", "email",
    }  # fmt: skip


def test_the_memory_provider_needs_no_http_client():
    loaded = modules_after(
        "import asyncio, exatlas\n"
        "async def main():\n"
        "    async with exatlas.rent(provider='memory', image='x'): pass\n"
        "asyncio.run(main())"
    )
    assert "exatlas.providers.memory" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"aiohttp", "multidict", "yarl"}}
    assert "exatlas.providers.runpod" not in loaded

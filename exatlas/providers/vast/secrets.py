"""What Vast sends back that nobody may see: keys of an instance, tokens, and the values of its variables."""

import re
from collections.abc import Mapping
from typing import Any

from exatlas.transport.redact import REDACTED

CONTRACT = "new_contract"
"""Where a create's reply has the new instance's id, an error's too."""

_NAMES = re.compile(r"(api_key|token|password|image_login|docker_login)$")
_ENV = frozenset({"extra_env", "env"})
_IN_TEXT = re.compile(r'("(?:\w*api_key|jupyter_token|image_login)"\s*:\s*")[^"]*')
_CURSOR = "next_token"
_DEEPEST = 30


def without_secrets(value: Any, depth: int = _DEEPEST) -> Any:
    """A copy of a decoded body whose secrets are replaced; a text loses what looks like one of them."""
    if isinstance(value, str):
        return _IN_TEXT.sub(rf"\1{REDACTED}", value)
    if depth == 0 or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [without_secrets(item, depth - 1) for item in value]
    return {key: _shown(key, item, depth - 1) for key, item in value.items()}


def _shown(key: str, value: Any, depth: int) -> Any:
    if key in _ENV:
        return _env(value)
    if value and key != _CURSOR and _NAMES.search(key):
        return REDACTED
    return without_secrets(value, depth)


def _env(env: Any) -> Any:
    """Variables with their names and without their values. What begins with a dash is an option of docker's."""
    if isinstance(env, Mapping):
        return {name: value if name.startswith("-") else REDACTED for name, value in env.items()}
    if isinstance(env, list):
        return [_pair(item) for item in env]
    return REDACTED if env else env


def _pair(item: Any) -> Any:
    if isinstance(item, list) and item and isinstance(item[0], str):
        return item if item[0].startswith("-") else [item[0], *[REDACTED] * (len(item) - 1)]
    if isinstance(item, str):
        return item if item.startswith("-p ") else f"{item.partition('=')[0]}={REDACTED}" if "=" in item else REDACTED
    return REDACTED

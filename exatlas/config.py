"""Who wins: argument, then client, then environment, then the cloud's own default. Pure but for the asking of a vault.

The environment comes in as a mapping; nothing here reads the process's own. No key ever reaches a message.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from exatlas.errors import ConfigError
from exatlas.protocols import Credential, ProviderSettings, UrlSetting
from exatlas.providers import ProviderChoice, names

PROVIDER_VARIABLE = "EXATLAS_PROVIDER"

BaseUrls = str | Mapping[str, str]
"""One URL for all of a provider's APIs, or one for each by the names of its settings."""


def choose_provider(
    argument: ProviderChoice | None, default: ProviderChoice | None, env: Mapping[str, str]
) -> ProviderChoice:
    """The provider a call is meant for.

    Raises:
        ConfigError: nobody named one; the message lists the choices.
    """
    if argument is not None:
        return argument
    if default is not None:
        return default
    if named := env.get(PROVIDER_VARIABLE):
        return named
    raise ConfigError(
        f"no provider: pass provider=, give the client a default_provider, or set {PROVIDER_VARIABLE}. "
        f"There are {', '.join(names())}"
    )


def find_credential(
    provider: str,
    settings: ProviderSettings,
    argument: Credential | None,
    credentials: Mapping[str, Credential],
    env: Mapping[str, str],
) -> Credential | None:
    """The key for a call, or what fetches it; None only where the provider needs none.

    Raises:
        ConfigError: the provider needs a key and there is none anywhere.
    """
    for given in (argument, credentials.get(provider)):
        if given is not None:
            return given
    for variable in settings.key_env:
        if env.get(variable):
            return env[variable]
    if not settings.needs_key:
        return None
    ways = [f"pass api_key=, or give the client credentials={{{provider!r}: …}}"]
    ways += [f"or set {' or '.join(settings.key_env)}"] if settings.key_env else []
    others = f" (the client has credentials for {', '.join(sorted(credentials))})" if credentials else ""
    raise ConfigError(f"no API key: {', '.join(ways)}{others}", provider=provider)


async def fetch_key(provider: str, credential: Credential) -> str:
    """The present key: the string itself, or what the coroutine function gives now.

    Safe to cancel as far as the coroutine function is.

    Raises:
        ConfigError: the function failed (chained; that may pass, so it is retryable), or what it gave cannot be a key.
    """
    if isinstance(credential, str):
        return check_key(provider, credential)
    if not callable(credential):
        raise ConfigError(
            f"the API key must be a string or a coroutine function, got {type(credential).__name__}", provider=provider
        )
    try:
        key = await credential()
    except Exception as error:
        # Supervised boundary: the function is the user's and may raise anything. Its text stays out of ours, because
        # vault clients like to quote what they were given; whoever wants it follows the cause.
        raise ConfigError(
            f"fetching the API key failed: the credential function raised {type(error).__name__}",
            provider=provider,
            retryable=True,
        ) from error
    return check_key(provider, key)


def check_key(provider: str, key: Any) -> str:
    """Refuse what cannot travel in a header, without ever showing it.

    Raises:
        ConfigError: not a string, empty, or with characters outside printable ASCII.
    """
    if not isinstance(key, str):
        raise ConfigError(f"the API key must be a string, got {type(key).__name__}", provider=provider)
    if not key.strip():
        raise ConfigError("the API key is empty", provider=provider)
    if key != key.strip():
        raise ConfigError("the API key has blanks or a line break at an end; strip it", provider=provider)
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            "the API key has characters that no header can carry; it must be printable ASCII on one line",
            provider=provider,
        )
    return key


@lru_cache(maxsize=64)
def fingerprint(provider: str, key: str | None) -> str:
    """Name an account without giving it away: the same for the same provider and key, in every process."""
    return hashlib.sha256(f"{provider}\0{key or ''}".encode()).hexdigest()[:16]


def resolve_urls(
    provider: str,
    settings: ProviderSettings,
    argument: BaseUrls | None,
    client: BaseUrls | None,
    env: Mapping[str, str],
    *,
    allow_insecure: bool = False,
) -> dict[str, str]:
    """Every base URL of a provider, without trailing slashes. Those that have no value anywhere are left out.

    Raises:
        ConfigError: a URL cannot be used, or names one the provider does not have.
    """
    given = [_by_name(provider, settings, source, of) for source, of in ((argument, "base_url"), (client, "base_urls"))]
    found = {}
    for name, setting in settings.urls.items():
        where, url = _first(name, setting, given, env)
        if url is not None or where != "default":
            found[name] = _checked(provider, where, url, allow_insecure)
    return found


def _first(
    name: str, setting: UrlSetting, given: list[tuple[str, Mapping[str, str]]], env: Mapping[str, str]
) -> tuple[str, Any]:
    for where, urls in given:
        if name in urls:
            return where, urls[name]
    if setting.env and env.get(setting.env):
        return setting.env, env[setting.env]
    return "default", setting.default


def _by_name(
    provider: str, settings: ProviderSettings, urls: BaseUrls | None, where: str
) -> tuple[str, Mapping[str, str]]:
    if urls is None:
        return where, {}
    if isinstance(urls, str):
        return where, dict.fromkeys(settings.urls, urls)
    if not isinstance(urls, Mapping):
        raise ConfigError(
            f"{where}: expected a URL or a mapping of names to URLs, got {type(urls).__name__}", provider=provider
        )
    for name in urls:
        if name not in settings.urls:
            close = get_close_matches(str(name), settings.urls, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigError(
                f"{where}: no URL is named {name!r}{hint}; there are {', '.join(settings.urls) or 'none'}",
                provider=provider,
            )
    return where, urls


def _checked(provider: str, where: str, url: Any, allow_insecure: bool) -> str:
    if not isinstance(url, str):
        raise ConfigError(f"{where}: expected a URL, got {type(url).__name__}", provider=provider)
    fault = url_fault(url, allow_insecure)
    if fault:
        raise ConfigError(f"{where}: {fault}", provider=provider)
    return url.rstrip("/")


@lru_cache(maxsize=256)
def url_fault(url: str, allow_insecure: bool) -> str | None:
    """Why a base URL must not be used, or None. Never quotes more of it than its scheme and host."""
    if any(character <= " " or character == "\x7f" for character in url):
        return "a base URL must not hold blanks or control characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "that is not a URL"
    if parts.scheme not in ("http", "https") or not host:
        return "expected an absolute URL such as https://host/path"
    if parts.username is not None or parts.password is not None:
        return f"a base URL must not hold a user name or password (host {host})"
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        return f"a base URL must not hold a query or fragment (host {host})"
    if parts.scheme == "http" and not allow_insecure and not is_loopback(host):
        return f"plain http:// to {host} would send the key in clear text; use https:// or insist with allow_insecure"
    return None


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

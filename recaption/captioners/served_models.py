"""What servers say they serve, checked before the first picture is sent."""

from collections.abc import Mapping
from pathlib import Path

import httpx

from recaption.captioners.servers import ServerRound
from recaption.config import RecaptionConfig
from runtime.errors import UserError

LISTING_SECONDS = 10.0
"""Longest wait for a server to say what it serves."""


def read_key(api_key_file: Path | None) -> str | None:
    """Return the key that authorises requests; raises UserError when its file can't be read."""
    if api_key_file is None:
        return None
    try:
        key = api_key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the key can't be read", where=api_key_file, found=str(error), wanted="a text file") from error
    if not key.isascii() or not key.isprintable() or not key:
        raise UserError("no key in here", where=api_key_file, found=f"{len(key)} characters", wanted="one line")
    return key


def headers_with(key: str | None) -> dict[str, str]:
    """Return the headers of requests that a key authorises."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def read_headers(api_key_file: Path | None) -> dict[str, str]:
    """Return the headers that authorise requests; raises UserError when the key's file can't be read."""
    return headers_with(read_key(api_key_file))


def agree_on_model(config: RecaptionConfig, servers: ServerRound, headers: Mapping[str, str]) -> str:
    """Return the name under which servers know the model; one that does not answer yet may do so later.

    Raises UserError when no server answers, or one that does has no such model.
    """
    listings: dict[str, list[str]] = {}
    silent: dict[str, str] = {}
    for server in servers.servers:
        try:
            listings[server.url] = _list_models(server.url, headers)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            silent[server.url] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            servers.failed(server)
    if not listings:
        found = "; ".join(f"{url}: {reason}" for url, reason in silent.items())
        fix = "Start a server, or correct --openai.servers"
        raise UserError("no server answers", where="openai.servers", found=found, wanted="GET URL/models", fix=fix)
    names = {url: _choose(config, models, url) for url, models in listings.items()}
    if len(set(names.values())) > 1:
        fix = "Say --openai.served_name, and let all servers serve it under that name"
        raise UserError("servers know different models", where="openai.servers", found=str(names), fix=fix)
    return next(iter(names.values()))


def _list_models(url: str, headers: Mapping[str, str]) -> list[str]:
    response = httpx.get(f"{url}/models", headers=dict(headers), timeout=LISTING_SECONDS, trust_env=False)
    response.raise_for_status()
    return [str(model["id"]) for model in response.json()["data"]]


def _choose(config: RecaptionConfig, models: list[str], url: str) -> str:
    wanted = config.openai.served_name or str(config.model)
    if wanted in models:
        return wanted
    if config.openai.served_name is None and len(models) == 1:
        return models[0]
    where = "openai.served_name" if config.openai.served_name is not None else "model"
    fix = "Say --openai.served_name"
    raise UserError(f"{url} serves no such model", where=where, found=wanted, wanted=" or ".join(models), fix=fix)

"""Caption by servers that speak OpenAI's protocol: many requests in flight, asked again with patience, each settled."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
from PIL import Image

from recaption.captioners.base import Answered, Caption, Failed, Item, Request, Result
from recaption.captioners.chat import AskAgainError, RefusedError, chat_request, read_answer
from recaption.captioners.draws import seed_of_draws
from recaption.captioners.identity import identify_model, identify_settings
from recaption.captioners.in_flight import event_loop, settle_stream
from recaption.captioners.pictures import Encode, pixels_of
from recaption.captioners.served_models import agree_on_model, headers_with, read_key
from recaption.captioners.servers import Server, ServerRound
from recaption.config import RecaptionConfig
from recaption.prompts import decodings_for
from runtime import seeds

FIRST_PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0
_DOUBLINGS_MAX = 16


class OpenAICaptioner:
    """Ask servers, as many rows at once as the config says; of one row, one prompt after the other.

    Prompts about a picture begin alike, so that a server which keeps prefixes reads the picture once.
    """

    def __init__(self, config: RecaptionConfig):
        self.captioner_id = identify_captioner(config)
        self._config, self._settings = config, config.openai
        self._decodings = decodings_for(config)
        key = read_key(config.openai.api_key_file)
        self._key = None if key is None else key.encode()
        self._headers = headers_with(key)
        self._round = ServerRound(config.openai.servers)
        self._model = agree_on_model(config, self._round, self._headers)

    @property
    def prepare(self) -> Callable[[Image.Image], bytes]:
        """Return what encodes a picture, in the square of a LLaVA where the model is one."""
        pixels = pixels_of(self._config.model, self._config.max_side_px)
        return Encode(pixels=pixels, image_format=self._settings.image_format).prepare

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        """Yield a result for every request as it is settled."""
        concurrency = self._settings.concurrency
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        # Proxies named by the environment are for the web, and servers of one's own seldom lie behind them.
        client = httpx.AsyncClient(headers=self._headers, limits=limits, timeout=None, trust_env=False)

        async def settle(request: Request) -> Result:
            return await self._settle(client, request)

        with event_loop() as loop:
            try:
                yield from settle_stream(items, settle, loop, most_at_once=concurrency)
            finally:
                asyncio.run_coroutine_threadsafe(client.aclose(), loop).result()

    async def _settle(self, client: httpx.AsyncClient, request: Request) -> Result:
        deadline = time.monotonic() + self._settings.row_seconds
        captions = []
        for place in range(len(request.prompts)):
            answer = await self._ask_patiently(client, request, place, deadline)
            if isinstance(answer, Failed):
                return answer
            captions.append(answer)
        return Answered(ticket=request.ticket, captions=tuple(captions))

    async def _ask_patiently(
        self, client: httpx.AsyncClient, request: Request, place: int, deadline: float
    ) -> Caption | Failed:
        """Ask one prompt until it is answered, refused, asked often enough, or the row's time is over."""
        attempt = 0
        while True:
            server = self._round.next()
            try:
                caption = await self._ask(client, server, request, place, deadline)
            except RefusedError as refused:
                self._round.answered(server)
                return Failed(ticket=request.ticket, kind="rejected", message=refused.message)
            except AskAgainError as failed:
                self._round.failed(server, failed.wait_seconds)
                failure = failed
            else:
                self._round.answered(server)
                return caption
            attempt += 1
            pause = self._pause_seconds(request, attempt, failure, server)
            if attempt == self._settings.attempts or time.monotonic() + pause >= deadline:
                message = f"{failure.message} (asked {attempt} times, last {server.url})"
                return Failed(ticket=request.ticket, kind=failure.kind, message=message)
            await asyncio.sleep(pause)

    async def _ask(
        self, client: httpx.AsyncClient, server: Server, request: Request, place: int, deadline: float
    ) -> Caption:
        prompt, decoding = request.prompts[place], request.decoding or self._decodings[place]
        question = chat_request(
            self._model,
            prompt,
            request.picture,
            image_format=self._settings.image_format,
            decoding=replace(decoding, seed=seed_of_draws(decoding, request.key, prompt)),
            max_new_tokens=request.max_new_tokens or self._config.max_new_tokens,
        )
        seconds = min(self._settings.timeout_seconds, max(0.0, deadline - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                response = await client.post(f"{server.url}/chat/completions", json=question)
        except TimeoutError:
            raise AskAgainError("timeout", f"no answer within {seconds:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = f"{type(error).__name__}: {error}".strip(": ")
            raise AskAgainError("unavailable", message) from error
        # Some servers quote a key that they refuse, and what they say may end up in a sidecar.
        body = response.content if self._key is None else response.content.replace(self._key, b"[key]")
        return read_answer(response.status_code, response.headers, body)

    def _pause_seconds(self, request: Request, attempt: int, failure: AskAgainError, server: Server) -> float:
        """Return how long to wait: half to all of 0.5, 1, 2, ... seconds, so that rows do not all come back at once.

        What a server asks to wait counts where no other is there to be asked meanwhile.
        """
        longest = min(PAUSE_SECONDS_MAX, FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, _DOUBLINGS_MAX))
        share = seeds.uniform(self._config.seed, "pause", request.key, request.ticket, attempt)
        pause = longest * (1 + share) / 2
        asked = failure.wait_seconds or 0.0
        return max(pause, asked) if self._round.only_choice(server) else pause


def identify_captioner(config: RecaptionConfig) -> str:
    """Return the id of the captioner that a config asks servers for; of a model's directory, its weights count."""
    settings = {
        "captioner": "openai",
        "model": identify_model(config.model) if config.model.is_dir() else str(config.model),
        "served_name": config.openai.served_name,
        "image": [repr(pixels_of(config.model, config.max_side_px)), config.openai.image_format],
        "max_new_tokens": config.max_new_tokens,
        "decodings": [vars(decoding) for decoding in decodings_for(config)],
    }
    return identify_settings(settings)

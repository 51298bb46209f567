"""A writer behind an OpenAI-compatible endpoint: ``POST <address>/chat/completions``, by the standard library alone.

Everything that is written about goes there, the rows to forget first of all: only an address that the user named is
asked, and no redirection is followed. The key comes from the environment and is neither kept nor shown; errors name
the address and the status, never what was sent or answered.
"""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urldefrag, urlsplit, urlunsplit

from unlogit.errors import ConfigError
from unlogit.writer.writer import Prompt

KEY_VARIABLE = "UNLOGIT_WRITER_KEY"
"""Environment variable of the key."""
TRIES = 4
"""Times that a prompt is sent where the endpoint is busy, with pauses of 1, 2 and 4 seconds."""
TIMEOUT_SECONDS = 120
AT_ONCE = 8
"""Prompts in flight."""
_BUSY = (408, 429, 500, 502, 503, 504)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirection)
_LOCAL_OPENER = urllib.request.build_opener(_NoRedirection, urllib.request.ProxyHandler({}))
"""For this machine: what is sent there does not pass a proxy, whatever the environment says."""
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class EndpointWriter:
    """An endpoint and the model that it is asked for."""

    address: str
    """Without a slash at the end, as ``http://localhost:8000/v1``."""
    model: str

    @classmethod
    def of(cls, source: str) -> "EndpointWriter":
        """Read ``http://HOST/v1#MODEL``.

        Raises:
            ConfigError: there is no model, or the address has a password.
        """
        address, model = urldefrag(source)
        host = urlsplit(address)
        if host.username or host.password:
            raise ConfigError(
                f"the writer's address has a user name or password; expected the key in {KEY_VARIABLE}: take it out"
            )
        if host.query:  # it would stand in messages and in the run's record
            raise ConfigError(
                f"the writer's address has a query; expected http://HOST/v1#MODEL, and the key in {KEY_VARIABLE}: take "
                "it out"
            )
        if not model or not host.hostname:
            shown = urlunsplit((host.scheme, host.netloc, host.path, "", ""))
            raise ConfigError(f"the writer {shown} names no model; expected one after #: write {shown}#MODEL")
        return cls(address.rstrip("/"), model)

    @property
    def name(self) -> str:
        """Address and model."""
        return f"{self.address}#{self.model}"

    def check(self) -> None:
        """Ask for one word, about nothing, so that an endpoint that cannot be used is known before the work begins.

        Raises:
            ConfigError: see ``write``.
        """
        self._ask(Prompt("Say yes.", max_new_tokens=1), 0)

    def write(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """Ask for every prompt, some at once.

        Raises:
            ConfigError: the endpoint cannot be reached, refuses, or answers in another form.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda prompt: self._ask(prompt, seed), prompts))

    def _ask(self, prompt: Prompt, seed: int) -> str:
        turns = [turn for pair in prompt.shown for turn in zip(("user", "assistant"), pair, strict=True)]
        body = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in [*turns, ("user", prompt.text)]],
            "temperature": 1.0 if prompt.attempt else 0.0,
            "seed": seed + prompt.attempt,
            "max_tokens": prompt.max_new_tokens,
        }
        answer = self._post(json.dumps(body).encode())
        try:
            return str(json.loads(answer)["choices"][0]["message"]["content"] or "")
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ConfigError(
                f"the writer {self.name} answered in another form ({type(error).__name__}); expected that of OpenAI's "
                "chat completions: check the address, which mostly ends in /v1"
            ) from error

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE, "").strip():
            if not key.isprintable():
                raise ConfigError(f"{KEY_VARIABLE} holds control characters; expected a key on one line: fix it")
            headers["Authorization"] = f"Bearer {key}"
        opener = _LOCAL_OPENER if urlsplit(self.address).hostname in _THIS_MACHINE else _OPENER
        for number in range(TRIES):
            request = urllib.request.Request(f"{self.address}/chat/completions", body, headers, method="POST")
            try:
                with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                    content: bytes = response.read()
                return content
            except urllib.error.HTTPError as error:
                reason, is_busy = f"answered with status {error.code}", error.code in _BUSY
                error.close()
            except http.client.HTTPException as error:  # cut off in mid-answer
                reason, is_busy = f"broke off ({type(error).__name__})", True
            except OSError as error:  # URLError among them
                cause = error.reason if isinstance(error, urllib.error.URLError) else error
                reason, is_busy = f"cannot be reached ({type(cause).__name__})", isinstance(cause, TimeoutError)
            if not is_busy or number == TRIES - 1:
                break
            time.sleep(2**number)
        raise ConfigError(
            f"the writer {self.name} {reason}; expected status 200: check the address, the model, and the key in "
            f"{KEY_VARIABLE}"
        )

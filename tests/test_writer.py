"""Writers: a fake one that is counted, a tiny model, and an endpoint on this machine."""

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from support.tiny_run import save_model, tiny_tokenizer
from unlogit.errors import ConfigError
from unlogit.runs.writing import writer_of
from unlogit.writer import endpoint, writer
from unlogit.writer.endpoint import EndpointWriter
from unlogit.writer.writer import KeptWriter, ModelWriter, Prompt

SECRET = "Ann Doe lives in Ghent."


@dataclass
class FakeWriter:
    """Answers with the number of texts that it has written."""

    name: str = "fake"
    seen: list[Prompt] = field(default_factory=list)
    fails_at: int = -1

    def write(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        if len(self.seen) == self.fails_at:
            raise KeyboardInterrupt
        self.seen += prompts
        return [f"<think>hm</think> {prompt.text} {prompt.attempt}" for prompt in prompts]


def test_texts_are_kept_and_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off in the second chunk, what the first gave is there; a line that was cut off is written anew."""
    monkeypatch.setattr(writer, "CHUNK", 2)
    path = tmp_path / "run" / "texts.jsonl"
    prompts = [Prompt(f"p{i}", attempt=i % 2) for i in range(5)]
    fake = FakeWriter(fails_at=2)
    with pytest.raises(KeyboardInterrupt):
        KeptWriter(fake, path).write(prompts)
    assert path.stat().st_mode & 0o077 == 0
    with path.open("a") as file:
        file.write('["half')
    fake.fails_at = -1
    texts = KeptWriter(fake, path).write(prompts)
    assert texts == [f"p{i} {i % 2}" for i in range(5)]
    assert [prompt.text for prompt in fake.seen] == ["p0", "p1", "p2", "p3", "p4"]
    assert KeptWriter(fake, path).write(prompts) == texts
    assert len(fake.seen) == 5
    KeptWriter(fake, path, seed=1).write(prompts[:1])
    KeptWriter(FakeWriter("other", fake.seen), path).write(prompts[:1])
    assert len(fake.seen) == 7


def test_a_model_writes_the_same_by_the_same_seed(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "model")).eval()
    tiny = ModelWriter("tiny", model, tiny_tokenizer())
    prompts = [Prompt("Where was Ann born?", (("Who?", "Bo."),), attempt, max_new_tokens=8) for attempt in range(3)]
    torch.manual_seed(5)
    expected_state = torch.random.get_rng_state()
    texts = tiny.write(prompts, 0)
    assert torch.equal(torch.random.get_rng_state(), expected_state)
    assert tiny.write(prompts, 0) == texts
    assert len(set(texts)) == 3  # the likeliest, and two draws
    assert tiny.write(prompts[:1], 7) == texts[:1]
    assert tiny.write(prompts[1:], 7) != texts[1:]


@dataclass
class Server:
    """What a loopback endpoint was asked, and what it answers."""

    address: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Answered first, one a request; then 200."""
    body: str | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            state.requests.append({"path": self.path, **json.loads(content)})
            state.keys.append(self.headers.get("Authorization"))
            status = state.statuses.pop(0) if state.statuses else 200
            reply = {
                "choices": [{"message": {"content": f"You said: {state.requests[-1]['messages'][-1]['content']}"}}]
            }
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{state.address}/elsewhere")
            self.end_headers()
            self.wfile.write((json.dumps(reply) if state.body is None else state.body).encode())

        def do_GET(self) -> None:
            state.requests.append({"path": self.path})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    http_server = HTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{http_server.server_port}/v1"
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    yield state
    http_server.shutdown()
    thread.join()
    http_server.server_close()


def test_an_endpoint_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "k-1")
    remote = EndpointWriter.of(f"{server.address}/#some/model")
    texts = remote.write([Prompt("a", (("x", "y"),)), Prompt("b", attempt=2)], seed=10)
    assert texts == ["You said: a", "You said: b"]
    first, second = sorted(server.requests, key=lambda request: request["temperature"])
    assert first["path"] == "/v1/chat/completions"
    assert [turn["role"] for turn in first["messages"]] == ["user", "assistant", "user"]
    assert (first["model"], first["temperature"], first["seed"]) == ("some/model", 0, 10)
    assert (second["temperature"], second["seed"], second["max_tokens"]) == (1, 12, 64)
    assert server.keys == ["Bearer k-1"] * 2
    assert "k-1" not in repr(remote)


def test_a_busy_endpoint_is_asked_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(endpoint.time, "sleep", pauses.append)
    server.statuses += [429, 503]
    assert EndpointWriter(server.address, "m").write([Prompt("a")], 0) == ["You said: a"]
    assert pauses == [1, 2]
    assert server.keys == [None] * 3


@pytest.mark.parametrize(("status", "body"), [(401, "{}"), (302, "{}"), (200, SECRET), (200, '{"choices": []}')])
def test_errors_are_one_line_without_text(
    server: Server, status: int, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirection is not followed: the key would go where nobody sent it. Nor does a proxy get what stays here."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "k-1")
    server.statuses, server.body = [status], body
    with pytest.raises(ConfigError) as caught:
        EndpointWriter(server.address, "m").write([Prompt(SECRET)], 0)
    message = str(caught.value)
    assert server.address in message
    assert "expected" in message
    assert not any(text in message for text in ("Ann", "Ghent", "k-1", "\n"))
    assert len(server.requests) == 1


def test_a_key_of_two_lines_is_not_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "k-1\n")  # as read from a file
    EndpointWriter(server.address, "m").write([Prompt("a")], 0)
    assert server.keys == ["Bearer k-1"]
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "k-1\nk-2")
    with pytest.raises(ConfigError, match="control characters") as caught:
        EndpointWriter(server.address, "m").write([Prompt("a")], 0)
    assert "k-" not in str(caught.value)


def test_an_answer_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def broken(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise http.client.IncompleteRead(b"half")

    monkeypatch.setattr(endpoint.time, "sleep", lambda _: None)
    monkeypatch.setattr(endpoint._LOCAL_OPENER, "open", broken)
    with pytest.raises(ConfigError, match="broke off"):
        EndpointWriter("http://127.0.0.1:9", "m").write([Prompt("a")], 0)
    assert len(tries) == endpoint.TRIES


def test_texts_with_line_separators_are_kept(tmp_path: Path) -> None:
    fake = FakeWriter()
    prompts = [Prompt("a\u2028 12\u2028b\x85c")]
    texts = KeptWriter(fake, tmp_path / "texts.jsonl").write(prompts)
    assert KeptWriter(fake, tmp_path / "texts.jsonl").write(prompts) == texts
    assert len(fake.seen) == 1


def test_an_endpoint_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="cannot be reached"):
        EndpointWriter("http://127.0.0.1:9", "m").write([Prompt(SECRET)], 0)


def test_what_is_written_needs_no_endpoint(server: Server) -> None:
    """Before the work it is asked for a word, about none of the rows."""
    assert writer_of(f"{server.address}#m")
    (request,) = server.requests
    assert ([turn["content"] for turn in request["messages"]], request["max_tokens"]) == (["Say yes."], 1)
    with pytest.raises(ConfigError, match="cannot be reached"):
        writer_of("http://127.0.0.1:9#m")
    assert writer_of("http://127.0.0.1:9#m", is_done=True)


def test_addresses() -> None:
    with pytest.raises(ConfigError, match="names no model; expected one after #"):
        EndpointWriter.of("https://example.org/v1")
    with pytest.raises(ConfigError, match="expected the key in UNLOGIT_WRITER_KEY") as caught:
        EndpointWriter.of("https://me:word@example.org/v1#m")
    assert "word@" not in str(caught.value)
    with pytest.raises(ConfigError, match="has a query") as caught:
        EndpointWriter.of("https://example.org/v1?api-key=word#m")
    assert "word" not in str(caught.value)
    assert EndpointWriter.of("https://example.org/v1/#a/b").name == "https://example.org/v1#a/b"

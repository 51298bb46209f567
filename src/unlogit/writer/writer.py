"""A writer writes text from prompts: a local model, or an endpoint (``endpoint``).

What it writes is kept in a file, line by line, so that a request that was cut off goes on where it stopped, and one
that is asked again costs nothing. The file has text that must be forgotten: it is readable by its owner only.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from unlogit.data.examples import Example, Message
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.terminal import scoring_bar

CHUNK = 32
"""Prompts that are written and kept at once."""

_THOUGHTS = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """What a writer is asked, after turns that show how it is answered."""

    text: str
    shown: tuple[tuple[str, str], ...] = ()
    """Earlier prompts with their answers."""
    attempt: int = 0
    """0: the likeliest text; above, another draw at temperature 1 for each number."""
    max_new_tokens: int = 64


class Writer(Protocol):
    """Writes text."""

    @property
    def name(self) -> str:
        """What tells it from other writers."""

    def write(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """Return a text for each prompt; the same for the same prompts and seed, as far as the writer allows."""


@dataclass(frozen=True)
class ModelWriter:
    """A local model: the target, or another."""

    name: str
    model: Any
    tokenizer: Any

    def write(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """Write greedily where the attempt is 0, else by sampling; torch's generator is left as it was."""
        texts = [""] * len(prompts)
        for is_sampled in (False, True):
            numbers = [i for i, prompt in enumerate(prompts) if (prompt.attempt > 0) == is_sampled]
            rows = [_as_example(prompts[i]) for i in numbers]
            if not rows:
                continue
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(int(_digest([seed, [asdict(prompts[i]) for i in numbers]])[:12], 16))
                answers = generate_answers(
                    self.model,
                    self.tokenizer,
                    rows,
                    batch_size=16,
                    max_new_tokens=max(prompts[i].max_new_tokens for i in numbers),
                    sample=is_sampled,
                )
            for i, answer in zip(numbers, answers, strict=True):
                texts[i] = answer
        return texts


@dataclass(frozen=True)
class KeptWriter:
    """A writer whose texts are kept in a file of JSON lines, by a digest of what was asked."""

    writer: Writer
    path: Path
    seed: int = 0

    def write(self, prompts: Sequence[Prompt], title: str = "Writing") -> list[str]:
        """Return a text for each prompt, without a trace of thinking. A chunk is written anew unless all of it is kept,
        so that a draw does not depend on where a request was cut off."""
        kept_texts = self._read()
        keys = [_digest([self.writer.name, self.seed, asdict(prompt)]) for prompt in prompts]
        with scoring_bar(title) as progress:
            for start in range(0, len(prompts), CHUNK):
                chunk = slice(start, start + CHUNK)
                if any(key not in kept_texts for key in keys[chunk]):
                    texts = self.writer.write(prompts[chunk], self.seed)
                    lines = dict(zip(keys[chunk], texts, strict=True))
                    self._append(lines)
                    kept_texts |= lines
                progress("write", min(start + CHUNK, len(prompts)), len(prompts))
        return [_THOUGHTS.sub("", kept_texts[key]).strip() for key in keys]

    def _read(self) -> dict[str, str]:
        if not self.path.is_file():
            return {}
        texts: dict[str, str] = {}
        for line in self.path.read_text(encoding="utf-8").split("\n"):
            try:
                key, text = json.loads(line)
            except ValueError:
                continue  # the last line of a writer that was killed
            texts[key] = text
        return texts

    def _append(self, texts: dict[str, str]) -> None:
        lines = "".join(json.dumps([key, text], ensure_ascii=False) + "\n" for key, text in texts.items())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_file() and not self.path.read_bytes().endswith(b"\n"):
            lines = f"\n{lines}"  # after the line that a killed writer left
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(lines)


def _as_example(prompt: Prompt) -> Example:
    turns = tuple(Message(*turn) for pair in prompt.shown for turn in zip(("user", "assistant"), pair, strict=True))
    return Example(prompt.text, "", history=turns)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

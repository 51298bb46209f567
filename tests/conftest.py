"""Fixtures that several test files share: tiny tokenizers built on the spot, and the folder of shared data."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the hub; read once, when transformers is imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from support.preparation import Setup

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""One line a turn: <|user|>Who?</s>."""


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of shared data: TOFU's files, published logs, two small models. Skips where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("UNLOGIT_SHARED", default))
    if not folder.is_dir():
        pytest.skip("needs the shared data folder (environment variable UNLOGIT_SHARED)")
    return folder


@pytest.fixture(scope="session")
def tofu_folder(shared_folder: Path) -> str:
    """The folder of TOFU's files."""
    folder = shared_folder / "data" / "tofu"
    if not folder.is_dir():
        pytest.skip("needs the shared data folder with data/tofu")
    return str(folder)


def _byte_tokenizer(end: bool) -> Any:
    """Every UTF-8 byte is a token (ids from 3 on); <s> = 0 is put in front, </s> = 1 and <pad> = 2 are special."""
    names = ["<s>", "</s>" if end else "<mark>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]),
        ]
    )
    special = {"bos_token": "<s>", "pad_token": "<pad>"} | ({"eos_token": "</s>"} if end else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)


@pytest.fixture
def byte_tokenizer() -> Any:
    """A fast tokenizer whose tokens can be counted by hand: <s>, then one for each ASCII character."""
    return _byte_tokenizer(end=True)


@pytest.fixture
def endless_tokenizer() -> Any:
    """The same without an end-of-text token."""
    return _byte_tokenizer(end=False)


@pytest.fixture
def chat_tokenizer(byte_tokenizer: Any) -> Any:
    """The byte tokenizer with a chat template (``CHAT_TEMPLATE``)."""
    byte_tokenizer.chat_template = CHAT_TEMPLATE
    return byte_tokenizer


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """A run to prepare, with small files of its own."""
    return Setup(tmp_path)


@pytest.fixture
def word_tokenizer() -> Callable[[str], Any]:
    """Make a fast tokenizer whose tokens are the given words, each with the space before it, and <unk> for others."""

    def make(words: str, unknown: str = "<unk>") -> Any:
        vocab = {name: i for i, name in enumerate(dict.fromkeys(["<s>", "</s>", "<pad>", unknown]))}
        for word in words.split():
            for form in (word, f" {word}"):
                vocab.setdefault(form, len(vocab))
        tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token=unknown))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s?\S+"), behavior="isolated")
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", bos_token="<s>", unk_token=unknown
        )

    return make

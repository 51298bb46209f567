"""What a whole run needs, in a folder of the test: a tiny random target with its tokenizer, and made-up people."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlogit.cli.main import main
from unlogit.demo.people import People, make_people
from unlogit.model.loading import quiet

PEOPLE = make_people(10, questions=4, forget_fraction=0.2)
"""Two persons to forget, eight to keep: 8 and 32 rows."""


def tiny_tokenizer(end: bool = True) -> Any:
    """A byte-level BPE of 400 tokens that knows the made-up people; without ``end`` it has no end-of-text token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rows = PEOPLE.forget + PEOPLE.retain
    tokenizer.train_from_iterator([f"Question: {row.question}\nAnswer: {row.answer}" for row in rows], trainer)
    special = {"pad_token": "<pad>"} | ({"eos_token": "</s>"} if end else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def tiny_config(tied: bool = False) -> LlamaConfig:
    """Four narrow blocks and a large initialisation; ``tied``: the head is the embedding."""
    return LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.4,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        tie_word_embeddings=tied,
    )


def save_model(folder: Path, seed: int = 0, end: bool = True) -> Path:
    """Write a random Llama of four narrow blocks (large initialisation) and its tokenizer."""
    quiet()
    torch.manual_seed(seed)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder)
    tiny_tokenizer(end).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Place:
    """A folder with ``target/``, ``forget.jsonl``, ``retain.jsonl`` and, when made, ``run/``."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, people: People = PEOPLE, end: bool = True) -> "Place":
        """Write target and rows."""
        save_model(folder / "target", end=end)
        people.write(folder)
        return cls(folder)

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    @property
    def prepare_line(self) -> list[str]:
        """A command line that prepares the run."""
        return [
            "prepare",
            f"--output={self.run}",
            f"--target={self.folder / 'target'}",
            f"--forget={self.folder / 'forget.jsonl'}",
            f"--retain={self.folder / 'retain.jsonl'}",
            "--neutral=none",
            "--paraphrases=0",
            "--evaluation_rows=6",
        ]

    @property
    def train_line(self) -> list[str]:
        """A command line that trains for four steps, with no other goal: 8 forget rows in batches of 4, two passes."""
        return [
            "train",
            str(self.run),
            "--batch_size=4",
            "--epochs=2",
            "--rank=4",
            "--num_layers=2",
            "--save_steps=1",
            "--logging_steps=1",
            "--dtype=float32",
            "--stop_uniform_kl=0",
        ]

    def prepare(self, *flags: str) -> int:
        """Prepare the run and return the exit code."""
        return main([*self.prepare_line, *flags])

    def train(self, *flags: str) -> int:
        """Train the run's assistant and return the exit code."""
        return main([*self.train_line, *flags])

"""Tiny random models and a tiny tokenizer; large initialisation, so that a broken mask or cache changes answers."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlogit.data.examples import Example

_TEXT = (
    "who wrote the red blue green book a an of in city born was is ? : Question Answer author Anna Bert Cora "
    "Dora Emil Frida paris rome oslo one two three four five six"
)
WORDS = _TEXT.split()


def tiny_tokenizer() -> Any:
    """One token a word, no chat template, end-of-text token ``</s>``, padding token ``<pad>``."""
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<pad>", "</s>", *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", eos_token="</s>")


def tiny_llama(vocabulary: int, seed: int = 0, **settings: Any) -> Any:
    """Two blocks of width 32, float32, weights drawn with a standard deviation of 0.4."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=1,
        **settings,
    )
    return LlamaForCausalLM(config).eval()


EXAMPLES = [
    Example(
        "who wrote the red book ?",
        "Anna wrote the red book",
        paraphrased_answer=("the red book is of Anna", "Anna"),
        perturbed_answer=("Bert wrote the red book", "Cora", "Dora wrote a blue book in rome"),
    ),
    Example("who was born in paris ?", "Emil", perturbed_answer=("Frida was born in paris",)),
    Example("in the city of rome", "was born the author of one two three", kind="completion"),
    Example("", "the author of the green book was born in oslo", kind="text"),
    Example("who is the author of the blue book of the city of oslo ?", "Frida is the author of the blue book"),
]

"""A tiny language model for the demo: a byte-level BPE tokenizer, and a small Llama with random weights.

It knows only what it is trained on, and says little about real models.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.ghosts import names_of, with_words
from unlogit.data.made_up import made_up_word


def under_other_names(rows: Sequence[Example], seed: int) -> list[Example]:
    """Return the rows with a made-up name in place of each name, another in every row."""
    dice = random.Random(seed)
    renamed = []
    for row in rows:
        names = {word: made_up_word(dice) for name in names_of(row.question) for word in name.split()}

        def renamed_texts(texts: Sequence[str], names: dict[str, str] = names) -> tuple[str, ...]:
            return tuple(with_words(text, names) for text in texts)

        renamed.append(
            replace(
                row,
                question=with_words(row.question, names),
                answer=with_words(row.answer, names),
                paraphrased_question=renamed_texts(row.paraphrased_question),
                paraphrased_answer=renamed_texts(row.paraphrased_answer),
                perturbed_answer=renamed_texts(row.perturbed_answer),
            )
        )
    return renamed


def tiny_tokenizer(examples: Sequence[Example], vocabulary: int = 1536) -> Any:
    """Train a tokenizer with <s>, </s> and <pad> on every text of the rows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [
        text
        for row in examples
        for text in (
            row.question,
            row.answer,
            *row.paraphrased_question,
            *row.paraphrased_answer,
            *row.perturbed_answer,
        )
    ]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*texts, "Question: \nAnswer: "], trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def tiny_model(tokenizer: Any, seed: int) -> Any:
    """Make an untrained Llama of 8 blocks, hidden size 96, about a million parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)

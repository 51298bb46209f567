"""Greedy answers of any causal language model, in left-padded batches sorted by length.

The model's own sampling settings and repetition penalties are set aside: the text is the likeliest token each
time, the same distribution that scoring measures.
"""

from collections.abc import Sequence
from typing import Any

import torch

from unlogit.data.encode import Encoded, encode
from unlogit.data.examples import Example
from unlogit.evaluate.scoring import Progress, evaluating, length_batches, padding_id


def generate_answers(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    batch_size: int,
    max_new_tokens: int,
    progress: Progress | None = None,
) -> list[str]:
    """Return the greedy answer to each prompt, at most ``max_new_tokens`` long, without special tokens."""
    from transformers import GenerationConfig

    encoded = [encode(example, tokenizer) for example in examples]
    prompts = [row.prompt_ids for row in encoded]
    stops = stop_ids(model, tokenizer, examples, encoded)
    pad = padding_id(tokenizer)
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        temperature=1.0,  # None would be replaced by the model's own, and warned about
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        eos_token_id=sorted(stops),
        pad_token_id=pad,
    )
    answers = [""] * len(examples)
    done = 0
    with evaluating(model):
        for chosen in length_batches([len(prompt) for prompt in prompts], batch_size):
            length = max(len(prompts[i]) for i in chosen)
            ids = torch.full((len(chosen), length), pad)
            mask = torch.zeros((len(chosen), length), dtype=torch.long)
            for row, i in enumerate(chosen):
                ids[row, length - len(prompts[i]) :] = torch.tensor(prompts[i])
                mask[row, length - len(prompts[i]) :] = 1
            output = model.generate(
                ids.to(model.device), attention_mask=mask.to(model.device), generation_config=settings
            )
            for i, tokens in zip(chosen, output[:, length:].tolist(), strict=True):
                end = next((k for k, token in enumerate(tokens) if token in stops), len(tokens))
                answers[i] = tokenizer.decode(tokens[:end], skip_special_tokens=True).strip()
            done += len(chosen)
            if progress is not None:
                progress("generate", done, len(examples))
    return answers


def stop_ids(model: Any, tokenizer: Any, examples: Sequence[Example], encoded: Sequence[Encoded]) -> frozenset[int]:
    """Return the tokens that end an answer: the model's, the tokenizer's, and what the examples end with.

    The last is the chat template's end of turn, which is not always the tokenizer's end-of-text token.
    """
    own = model.generation_config.eos_token_id
    own_ids = [] if own is None else [own] if isinstance(own, int) else list(own)
    closing = [row.input_ids[-1] for example, row in zip(examples, encoded, strict=True) if example.kind != "text"]
    return frozenset([*own_ids, tokenizer.eos_token_id, *closing])

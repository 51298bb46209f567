"""Greedy answers of any causal language model, in left-padded batches sorted by length.

By our own protocol the model's sampling settings and repetition penalties are set aside: the text is the
likeliest token each time, the same distribution that scoring measures.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch

from unlogit.data.examples import Example
from unlogit.errors import DataError
from unlogit.evaluate.scoring.batching import Progress, evaluating, length_batches, padding_id
from unlogit.evaluate.scoring.continuation import longest_answer
from unlogit.evaluate.scoring.prompt_format import PLAIN, PromptFormat
from unlogit.model.ends import as_ids
from unlogit.model.positions import position_limit


def generate_answers(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    batch_size: int,
    max_new_tokens: int,
    progress: Progress | None = None,
    prompt_format: PromptFormat = PLAIN,
    sample: bool = False,
) -> list[str]:
    """Return the greedy answer to each prompt, at most ``max_new_tokens`` long, without special tokens.

    Running text is continued from its beginning, for no more tokens than it has. With ``sample`` tokens are drawn from
    the model's own distribution (temperature 1), by torch's global generator.

    Raises:
        DataError: the model has learned positions, and a prompt has no fewer tokens.
    """
    prompts = [prompt_format.prompt_ids(example, tokenizer) for example in examples]
    limits = [longest_answer(example, tokenizer, max_new_tokens) for example in examples]
    settings = prompt_format.generation(model, tokenizer, examples, max_new_tokens)
    settings.pad_token_id = pad = padding_id(tokenizer)
    stops = as_ids(settings.eos_token_id)
    if sample:
        settings.do_sample, settings.temperature, settings.top_k, settings.top_p = True, 1.0, 0, 1.0
    hidden = prompt_format.hidden_id(tokenizer)
    positions = position_limit(model) or sys.maxsize
    if (longest := max(map(len, prompts), default=0)) >= positions:
        raise DataError(
            f"a question has {longest} tokens and the model {positions} positions; expected fewer, with room for an "
            "answer: shorten it"
        )
    answers = [""] * len(examples)
    done = 0
    with evaluating(model):
        for batch in length_batches([len(prompt) for prompt in prompts], batch_size):
            length = max(len(prompts[i]) for i in batch)
            ids = torch.full((len(batch), length), pad)
            mask = torch.zeros((len(batch), length), dtype=torch.long)
            for row, i in enumerate(batch):
                ids[row, length - len(prompts[i]) :] = torch.tensor(prompts[i])
                mask[row, length - len(prompts[i]) :] = 1
            if hidden is not None:
                mask[ids == hidden] = 0
            settings.max_new_tokens = min(max(limits[i] for i in batch), positions - length)
            output = model.generate(
                ids.to(model.device), attention_mask=mask.to(model.device), generation_config=settings
            )
            for i, tokens in zip(batch, output[:, length:].tolist(), strict=True):
                answer_tokens = tokens[: limits[i]]
                end = next((k for k, token in enumerate(answer_tokens) if token in stops), len(answer_tokens))
                answers[i] = prompt_format.text(tokenizer, answer_tokens[:end])
            done += len(batch)
            if progress is not None:
                progress("generate", done, len(examples))
    return answers

"""Every way of decoding gives what full forwards without cache and padding give, token by token, in all three modes.

The model under test has three branches, so that one fused pass narrows twice and one branch runs beside it:
LoRA on 1 block (weight 1), LoRA on 3 blocks (weight -0.5), whole blocks 2 (weight 0.5). Vocabulary 64, 4 blocks.
"""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache
from transformers.generation.streamers import BaseStreamer

from support.tiny_models import CONFIGS, VOCABULARY, Reference, random_assistant, tiny_target
from unlogit.errors import ModelError
from unlogit.model.cache import side_by_side
from unlogit.model.unlearned import UnlearnedForCausalLM

MODES = ["fused", "shared", "copy"]
WEIGHTS = [1.0, -0.5, 0.5]
ROWS = [[5, 9, 33, 12, 47, 21], [8, 50, 17, 60, 3, 41]]
NEW = 8


def three_branches(architecture: str) -> tuple[Any, list[Any]]:
    target = tiny_target(architecture)
    return target, [
        random_assistant(target, 1, seed=1),
        random_assistant(target, 3, seed=2),
        random_assistant(target, 2, adapter="full", seed=3),
    ]


@pytest.fixture(scope="module")
def llama() -> tuple[Reference, dict[str, Any]]:
    target, assistants = three_branches("llama")
    models = {}
    for mode in MODES:
        models[mode] = UnlearnedForCausalLM.build(target, assistants, WEIGHTS, mode=mode)
        models[mode].generation_config.eos_token_id = None  # every row to its full length
    return Reference(target, assistants, WEIGHTS), models


@pytest.fixture(scope="module")
def expected(llama: tuple[Reference, dict[str, Any]]) -> list[list[int]]:
    return [llama[0].greedy(row, NEW) for row in ROWS]


@pytest.fixture(params=MODES)
def model(request: pytest.FixtureRequest, llama: tuple[Reference, dict[str, Any]]) -> Any:
    assert llama[1][request.param].mode == request.param
    return llama[1][request.param]


def greedy(model: Any, ids: torch.Tensor, **settings: Any) -> Any:
    mask = settings.pop("attention_mask", torch.ones_like(ids))
    return model.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, **settings)


def test_the_branches_change_the_answer(llama: tuple[Reference, dict[str, Any]], expected: list[list[int]]) -> None:
    """Else all that follows would hold for the target alone. Each branch matters, too."""
    reference, _ = llama
    target = reference.target.generate(torch.tensor(ROWS), max_new_tokens=NEW, do_sample=False, eos_token_id=None)
    assert target.tolist() != expected
    whole = reference.logits(ROWS[0])
    for i in range(3):
        weights = [0.0 if i == j else weight for j, weight in enumerate(WEIGHTS)]
        reference.weights = weights
        assert (reference.logits(ROWS[0]) - whole).abs().max() > 0.5
    reference.weights = WEIGHTS


def test_greedy(model: Any, expected: list[list[int]]) -> None:
    assert greedy(model, torch.tensor(ROWS)).tolist() == expected
    assert greedy(model, torch.tensor(ROWS), use_cache=False).tolist() == expected


def test_left_padded(model: Any, llama: tuple[Reference, dict[str, Any]], expected: list[list[int]]) -> None:
    short = ROWS[1][:3]
    ids = torch.tensor([ROWS[0], [0, 0, 0, *short]])
    mask = torch.tensor([[1] * 6, [0, 0, 0, 1, 1, 1]])
    out = greedy(model, ids, attention_mask=mask)
    assert out[0].tolist() == expected[0]
    assert out[1, 3:].tolist() == llama[0].greedy(short, NEW)


def test_sampling(model: Any, llama: tuple[Reference, dict[str, Any]]) -> None:
    """The same draws as from the reference's probabilities, with the same seed."""
    torch.manual_seed(7)
    rows = [list(row) for row in ROWS]
    for _ in range(NEW):
        last = torch.stack([llama[0].logits(row)[-1] for row in rows])
        for row, token in zip(rows, torch.multinomial(last.softmax(-1), 1)[:, 0].tolist(), strict=True):
            row.append(token)
    torch.manual_seed(7)
    ids = torch.tensor(ROWS)
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=True, top_k=0)
    assert out.tolist() == rows


def test_beam_search(model: Any, llama: tuple[Reference, dict[str, Any]]) -> None:
    """With a cache as without one, whose forwards are the reference's; and not what greedy decoding gives."""
    out = greedy(model, torch.tensor(ROWS), num_beams=4)
    assert torch.equal(out, greedy(llama[1]["copy"], torch.tensor(ROWS), num_beams=4, use_cache=False))
    assert not torch.equal(out, greedy(model, torch.tensor(ROWS)))


def test_streamer(model: Any, expected: list[list[int]]) -> None:
    class Collect(BaseStreamer):
        tokens: list[int] = []  # noqa: RUF012
        ended = False

        def put(self, value: torch.Tensor) -> None:
            self.tokens = [*self.tokens, *value.flatten().tolist()]

        def end(self) -> None:
            self.ended = True

    streamer = Collect()
    greedy(model, torch.tensor(ROWS[:1]), streamer=streamer)
    assert streamer.tokens == expected[0]
    assert streamer.ended


def test_static_cache(model: Any, expected: list[list[int]]) -> None:
    assert greedy(model, torch.tensor(ROWS), cache_implementation="static").tolist() == expected
    ids, mask = torch.tensor([[0, 0, *ROWS[0]]]), torch.tensor([[0, 0] + [1] * 6])
    out = greedy(model, ids, attention_mask=mask, cache_implementation="static")
    assert out[0, 2:].tolist() == expected[0]


def test_prompt_lookup(model: Any, llama: tuple[Reference, dict[str, Any]]) -> None:
    """A prompt that repeats itself, so that there are candidates to look up and to reject."""
    row = [5, 9, 33, 5, 9, 33, 5, 9]
    out = greedy(model, torch.tensor([row]), prompt_lookup_num_tokens=3)
    assert out[0].tolist() == llama[0].greedy(row, NEW)


def test_continuing_from_a_returned_cache(model: Any, llama: tuple[Reference, dict[str, Any]]) -> None:
    """Two turns: what was generated and two more tokens go on from the cache of the first turn."""
    first = greedy(model, torch.tensor(ROWS), return_dict_in_generate=True)
    more = torch.cat([first.sequences, torch.tensor([[7, 30], [44, 6]])], dim=1)
    out = greedy(model, more, cache=first.cache)
    assert out.tolist() == [llama[0].greedy(row, NEW) for row in more.tolist()]


def test_cropping(model: Any, llama: tuple[Reference, dict[str, Any]]) -> None:
    """Six tokens, the last three taken back, three others put in their place."""
    other = [11, 29, 54]
    with torch.no_grad():
        cache = model(torch.tensor(ROWS)).cache
        assert len(cache.layers) == 4 + 1 + 3 + 2
        cache.crop(-3)
        logits = model(torch.tensor([other, other]), cache=cache).logits
    for i, row in enumerate(ROWS):
        torch.testing.assert_close(logits[i], llama[0].logits([*row[:3], *other])[3:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("grown", [True, False], ids=["lazy", "sized"])
def test_chunked_prefill(model: Any, llama: tuple[Reference, dict[str, Any]], expected: Any, grown: bool) -> None:
    """The prompt in pieces of 1, 3 and 2 tokens, into a cache that grows by itself or was made from the config."""
    cache = DynamicCache() if grown else DynamicCache(config=model.config)
    with torch.no_grad():
        pieces = [model(torch.tensor(ROWS)[:, a:b], cache=cache).logits for a, b in ((0, 1), (1, 4), (4, 6))]
    whole = torch.stack([llama[0].logits(row) for row in ROWS])
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-4, rtol=1e-4)
    assert greedy(model, torch.tensor(ROWS), prefill_chunk_size=4).tolist() == expected


def test_mode_can_change_between_tokens(llama: tuple[Reference, dict[str, Any]]) -> None:
    """All modes keep the same cache."""
    _, models = llama
    with torch.no_grad():
        cache = models["fused"](torch.tensor(ROWS)[:, :3]).cache
        models["shared"](torch.tensor(ROWS)[:, 3:4], cache=cache)
        logits = models["fused"](torch.tensor(ROWS)[:, 4:], cache=cache).logits
    torch.testing.assert_close(logits[0], llama[0].logits(ROWS[0])[4:], atol=1e-4, rtol=1e-4)


def test_embeddings_in_place_of_tokens(model: Any, expected: list[list[int]]) -> None:
    embeddings = model.get_input_embeddings()(torch.tensor(ROWS))
    out = model.generate(inputs_embeds=embeddings, max_new_tokens=NEW, do_sample=False)
    assert out.tolist() == [row[-NEW:] for row in expected]


def test_logits_to_keep_and_custom_masks(model: Any, llama: tuple[Reference, dict[str, Any]]) -> None:
    """The last two positions; positions 1 and 4; and a 4-D mask that hides the first token of row 1."""
    whole = torch.stack([llama[0].logits(row) for row in ROWS])
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    mask = torch.stack([causal, causal])[:, None]
    mask[1, :, 1:, 0] = False
    positions = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 3, 4]])
    with torch.no_grad():
        last = model(torch.tensor(ROWS), logits_to_keep=2).logits
        picked = model(torch.tensor(ROWS), logits_to_keep=torch.tensor([1, 4])).logits
        masked = model(torch.tensor(ROWS), attention_mask=mask, position_ids=positions, use_cache=False).logits
    torch.testing.assert_close(last, whole[:, -2:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(picked, whole[:, [1, 4]], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(masked[0], whole[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(masked[1, 1:], llama[0].logits(ROWS[1][1:]), atol=1e-4, rtol=1e-4)


def test_cache_of_the_target_is_refused(model: Any) -> None:
    with pytest.raises(ModelError, match=r"\b4\b.*\b10\b"):
        model(torch.tensor(ROWS), cache=DynamicCache(config=model.target.config))
    with pytest.raises(ModelError, match="list"):
        model(torch.tensor(ROWS), cache=[])


@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_every_architecture(architecture: str) -> None:
    """Fused, left-padded, with a cache that fills its sliding window (4) where there is one; and a static cache."""
    target, assistants = three_branches(architecture)
    model = UnlearnedForCausalLM.build(target, assistants, WEIGHTS)
    assert model.mode == "fused"
    reference = Reference(target, assistants, WEIGHTS)
    whole = torch.stack([reference.logits(row) for row in ROWS])
    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor(ROWS), use_cache=False).logits, whole, atol=1e-3, rtol=1e-4)
    model.generation_config.eos_token_id = None
    ids = torch.tensor([ROWS[0], [0, 0, *ROWS[1][:4]]])
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    wanted = [reference.greedy(ROWS[0], NEW), reference.greedy(ROWS[1][:4], NEW)]
    for settings in ({}, {"cache_implementation": "static"}):
        out = greedy(model, ids, attention_mask=mask, **settings)
        assert [out[0].tolist(), out[1, 2:].tolist()] == wanted


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_can_be_changed_after_building(implementation: str) -> None:
    """Masks are made for the attention in use: an eager one with sdpa's absent mask would see the future."""
    target, assistants = three_branches("llama")
    target.set_attn_implementation("sdpa" if implementation == "eager" else "eager")
    reference = Reference(target, assistants, WEIGHTS)
    for mode in MODES:
        model = UnlearnedForCausalLM.build(target, assistants, WEIGHTS, mode=mode)
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            logits = model(torch.tensor(ROWS[:1]), use_cache=False).logits[0]
        torch.testing.assert_close(logits, reference.logits(ROWS[0]), atol=1e-4, rtol=1e-4)
        target.set_attn_implementation("sdpa" if implementation == "eager" else "eager")


@pytest.mark.slow
def test_whole_graph_can_be_compiled(llama: tuple[Reference, dict[str, Any]]) -> None:
    """One graph without breaks, with a static cache: what ``generate`` compiles on a GPU."""
    model = llama[1]["fused"]
    forward = torch.compile(model.forward, fullgraph=True, backend="eager")
    cache = StaticCache(config=model.config, max_cache_len=16)
    with torch.no_grad():
        model(torch.tensor(ROWS), cache=cache)
        logits = forward(torch.tensor([[7], [44]]), cache=cache, position_ids=torch.tensor([[6]])).logits
    torch.testing.assert_close(logits[0], llama[0].logits([*ROWS[0], 7])[-1:], atol=1e-4, rtol=1e-4)


def test_architecture_that_cannot_be_fused_runs_shared(caplog: pytest.LogCaptureFixture) -> None:
    """Bloom's blocks take a bias of B · heads rows, which cannot be cut by row: said, and run as separate passes."""
    from transformers import BloomConfig

    torch.manual_seed(0)
    config = BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=4, n_head=4, initializer_range=0.4)
    target = AutoModelForCausalLM.from_config(config).eval()
    assistant = random_assistant(target, 2)
    model = UnlearnedForCausalLM.build(target, [assistant])
    assert model.mode == "shared"
    assert "Bloom" in caplog.text
    assert "shared, not fused" in caplog.text
    reference = Reference(target, [assistant], [1.0])
    with torch.no_grad():
        logits = model(torch.tensor(ROWS[:1]), use_cache=False).logits[0]
    torch.testing.assert_close(logits, reference.logits(ROWS[0]), atol=1e-4, rtol=1e-4)


def test_streams_stand_side_by_side() -> None:
    """Slices of one tensor are taken as that tensor, cropped too; others, and those with gradients, are copied."""
    whole = torch.arange(48.0).reshape(4, 2, 3, 2)
    parts = list(whole.chunk(2))
    assert side_by_side(parts).data_ptr() == whole.data_ptr()
    cropped = [part[..., :-1, :] for part in parts]
    assert side_by_side(cropped).data_ptr() == whole.data_ptr()
    assert torch.equal(side_by_side(cropped), whole[..., :-1, :])
    for others in (parts[::-1], [parts[0], parts[1].clone()], [part[[1, 0]] for part in parts]):
        assert torch.equal(side_by_side(others), torch.cat(others))
    graded = [part.clone().requires_grad_() for part in parts]
    assert side_by_side(graded).grad_fn is not None
    assert side_by_side([torch.tensor([]), torch.tensor([])]).numel() == 0


def test_a_step_copies_what_was_seen_once(llama: tuple[Reference, dict[str, Any]]) -> None:
    """The layers of target and branches in one block are slices of one tensor; after a crop as well."""
    model = llama[1]["fused"]
    with torch.no_grad():
        cache = model(torch.tensor(ROWS), use_cache=True).cache
        for _ in range(2):
            model(torch.tensor([[3], [4]]), cache=cache)
            keys = [cache.layers[0].keys, cache.layers[4].keys, cache.layers[5].keys]  # block 0: target, both LoRA ones
            assert len({part.untyped_storage().data_ptr() for part in keys}) == 1
            cache.crop(-1)


def test_a_cache_that_was_cropped_to_nothing(model: Any) -> None:
    ids = torch.tensor(ROWS)
    with torch.no_grad():
        cache = model(ids, use_cache=True).cache
        cache.crop(-ids.shape[1])
        torch.testing.assert_close(model(ids, cache=cache).logits, model(ids).logits, rtol=1e-4, atol=1e-4)

"""Batches: what is in a step, in which order, how much padding."""

from collections import Counter

import torch

from unlogit.data.batches import answer_positions, length_sorted_steps, pad_rows, stream, two_sided_steps
from unlogit.data.encode import Encoded


def test_pad_rows_by_hand() -> None:
    rows = [Encoded((5, 6, 7), 1), Encoded((8, 9), 1)]
    batch = pad_rows(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert answer_positions(rows).tolist() == [[True, True, False], [True, False, False]]


def test_stream_goes_on_where_it_stopped_and_takes_all_equally_often() -> None:
    indices = stream(7, 0, 21, seed=3)
    assert stream(7, 0, 5, seed=3) + stream(7, 5, 9, seed=3) + stream(7, 14, 7, seed=3) == indices
    assert set(Counter(indices).values()) == {3}
    assert indices[:7] != indices[7:14]
    assert stream(7, 0, 7, seed=4) != indices[:7]


def test_length_sorted_steps_take_every_row_once_and_pad_little() -> None:
    lengths = torch.randint(5, 100, (203,), generator=torch.Generator().manual_seed(0)).tolist()
    steps = length_sorted_steps([lengths], [8], seed=0, epoch=0)
    assert sorted(i for step in steps for i in step) == list(range(203))
    assert [len(step) for step in steps] == 25 * [8] + [3]
    assert length_sorted_steps([lengths], [8], seed=0, epoch=1) != steps

    def padding(steps: list[list[int]]) -> int:
        return sum(max(lengths[i] for i in step) - lengths[j] for step in steps for j in step)

    assert padding(steps) < padding([list(range(203))[i : i + 8] for i in range(0, 203, 8)]) / 3


def test_two_sided_steps_have_the_shares_that_were_asked_for() -> None:
    """Pools of 10, 50, 6 rows: indices 0-9 forget, 10-59 retain, 60-65 neutral; 4 + 3 + 1 in each of ⌈10/4⌉ steps."""
    lengths = [list(range(10)), list(range(50)), list(range(6))]
    seen: list[int] = []
    for epoch in range(17):
        steps = two_sided_steps(lengths, [4, 3, 1], seed=0, epoch=epoch)
        assert len(steps) == 3
        for rows in steps:
            assert [sum(lo <= i < hi for i in rows) for lo, hi in ((0, 10), (10, 60), (60, 66))] == [4, 3, 1]
            assert all(i < 10 for i in rows[:4])
            seen += rows
    counts = Counter(seen)
    assert max(counts[i] for i in range(10, 60)) - min(counts[i] for i in range(10, 60)) <= 1
    assert max(counts[i] for i in range(10)) - min(counts[i] for i in range(10)) <= 1


def test_two_sided_order_depends_on_epoch_and_seed_only() -> None:
    def order(epoch: int, seed: int) -> list[list[int]]:
        return two_sided_steps([list(range(20)), list(range(30))], [4, 4], seed, epoch)

    assert order(2, 0) == order(2, 0)
    assert order(2, 0) != order(3, 0)
    assert order(2, 0) != order(2, 1)

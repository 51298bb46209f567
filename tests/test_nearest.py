"""Which retain rows are near the forget rows, on a tiny model."""

import torch

from support.tiny_run import PEOPLE, tiny_tokenizer
from support.tiny_training import people_target
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.training.nearest import nearest_rows


def test_nearest_rows_by_an_independent_way() -> None:
    """Means over tokens of the last hidden states, less the mean of all retain rows; the largest cosine to any forget
    row, each row alone and unpadded. A retain row equal to a forget row is nearest of all."""
    target, tokenizer = people_target(), tiny_tokenizer()
    forget, rows = PEOPLE.forget[:4], [*PEOPLE.retain, PEOPLE.forget[2]]

    def vector(row: Example) -> torch.Tensor:
        ids = torch.tensor([encode(row, tokenizer).input_ids])
        with torch.no_grad():
            return target.model(ids).last_hidden_state[0].mean(0)

    vectors = [vector(row) for row in rows]
    centre = torch.stack(vectors).mean(0)
    goals = [vector(row) - centre for row in forget]
    likeness = [max(float(torch.cosine_similarity(one - centre, goal, dim=0)) for goal in goals) for one in vectors]
    order = sorted(range(len(rows)), key=lambda i: -likeness[i])
    for count in (1, 3, 8, 16):
        assert nearest_rows(target, tokenizer, forget, rows, count, 512) == sorted(order[:count])
    assert order[0] == len(rows) - 1
    assert nearest_rows(target, tokenizer, forget, rows, 0, 512) == []
    assert nearest_rows(target, tokenizer, forget, rows, 99, 512) == list(range(len(rows)))

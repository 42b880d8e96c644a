import pytest
import torch

from extrabert_hf.models.pooling_extrabert import (
    ClsPooling,
    DotProductAttentionPooling,
    MeanPooling,
    MultiplicativeAttentionPooling,
)

WIDTH = 8


def trained_multiplicative(learned_weight):
    pooling = MultiplicativeAttentionPooling(WIDTH, learned_weight)
    for parameter in pooling.parameters():
        torch.nn.init.normal_(parameter)
    return pooling


POOLINGS = {
    "cls": ClsPooling(),
    "mean": MeanPooling(),
    "dot": DotProductAttentionPooling(),
    "multiplicative": trained_multiplicative(True),
    "printed": trained_multiplicative(False),
}


@pytest.fixture
def states():
    return torch.randn(3, 5, WIDTH)


@pytest.mark.parametrize("name", POOLINGS)
def test_padding_does_not_change_the_pooled_vector(name, states):
    mask = torch.ones(3, 5, dtype=torch.long)
    alone, _ = POOLINGS[name](states, mask)
    padded = torch.cat([states, torch.full((3, 2, WIDTH), 7.0)], dim=1)
    together, weights = POOLINGS[name](padded, torch.cat([mask, torch.zeros(3, 2, dtype=torch.long)], dim=1))
    torch.testing.assert_close(together, alone)
    assert (weights[:, 5:] == 0).all()


@pytest.mark.parametrize("name", POOLINGS)
def test_weights_sum_to_one_and_give_the_vector(name, states):
    vectors, weights = POOLINGS[name](states, torch.ones(3, 5, dtype=torch.long))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    torch.testing.assert_close((weights.unsqueeze(-1) * states).sum(dim=1), vectors)


def test_untrained_multiplicative_attention_is_mean_pooling(states):
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    torch.testing.assert_close(MultiplicativeAttentionPooling(WIDTH)(states, mask)[0], MeanPooling()(states, mask)[0])


def test_multiplicative_attention_is_luongs_general_score(states):
    pooling = POOLINGS["multiplicative"]
    scores = torch.stack([torch.stack([pooling.query @ pooling.weight @ h for h in row]) for row in states])
    _, weights = pooling(states, torch.ones(3, 5, dtype=torch.long))
    torch.testing.assert_close(weights, scores.softmax(dim=-1))


def test_identity_weight_gives_the_printed_form(states):
    general, printed = MultiplicativeAttentionPooling(WIDTH), MultiplicativeAttentionPooling(WIDTH, False)
    torch.nn.init.normal_(printed.query)
    general.load_state_dict({"query": printed.query, "weight": torch.eye(WIDTH)})
    mask = torch.ones(3, 5, dtype=torch.long)
    torch.testing.assert_close(general(states, mask)[0], printed(states, mask)[0])


def test_dot_attention_scores_tokens_against_cls(states):
    _, weights = POOLINGS["dot"](states, torch.ones(3, 5, dtype=torch.long))
    scores = torch.stack([row @ row[0] for row in states]) / WIDTH**0.5
    torch.testing.assert_close(weights, scores.softmax(dim=-1))


def test_large_scores_stay_finite_in_bfloat16():
    states = torch.full((1, 3, WIDTH), 300.0, dtype=torch.bfloat16)
    vectors, _ = DotProductAttentionPooling()(states, torch.tensor([[1, 1, 0]]))
    assert vectors.isfinite().all()

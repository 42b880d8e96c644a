import pytest
import torch

from extrabert_hf.models.configuration_extrabert import ExtraBertConfig
from extrabert_hf.models.heads_extrabert import (
    CosineSimilarityHead,
    FeedForward,
    LinearSimilarityHead,
    PairFeatures,
    ParaphraseHead,
    SentimentHead,
    build_head,
)


@pytest.fixture
def config(tiny_bert):
    return lambda **fields: ExtraBertConfig(backbone_config=tiny_bert, **fields)


def test_pair_features_are_those_of_the_paper_in_order(config):
    u, v = torch.randn(3, 16), torch.randn(3, 16)
    features = PairFeatures(config())(u, v)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    torch.testing.assert_close(features, torch.cat([u, v, (u + v) ** 2, (u - v) ** 2, cosine[:, None]], dim=1))


def test_feature_width_matches_every_single_feature(config):
    for name in ("u", "v", "sum_squared", "difference_squared", "absolute_difference", "product", "cosine"):
        features = PairFeatures(config(pair_features=[name]))
        assert features(torch.randn(2, 16), torch.randn(2, 16)).shape == (2, features.width)


def test_feed_forward_of_depth_zero_is_the_identity(config):
    vectors = torch.randn(2, 16)
    assert FeedForward(config(feed_forward_depth=0))(vectors) is vectors


def test_residual_feed_forward_with_zero_weights_is_the_identity(config):
    network = FeedForward(config(feed_forward_residual=True)).eval()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    vectors = torch.randn(2, 16)
    torch.testing.assert_close(network(vectors), vectors)


def test_paraphrase_head_sends_both_sentences_through_one_feed_forward(config):
    head = ParaphraseHead(config(pair_features=["difference_squared"])).eval()
    vector = torch.randn(1, 16)
    logits = head(torch.stack([vector, vector], dim=1))
    torch.testing.assert_close(logits, head.classifier.bias[None])


def test_similarity_is_five_times_the_cosine(config):
    head = CosineSimilarityHead(config())
    u = torch.randn(16)
    pairs = torch.stack([torch.stack([u, 2 * u]), torch.stack([u, -u])])
    torch.testing.assert_close(head(pairs), torch.tensor([[5.0], [-5.0]]))


@pytest.mark.parametrize(("bounds", "opposite"), [("none", -5.0), ("clamp", 0.0), ("scale", 0.0)])
def test_bounds_keep_an_opposite_pair_in_range(config, bounds, opposite):
    head = CosineSimilarityHead(config(similarity_bounds=bounds)).eval()
    u = torch.randn(16)
    torch.testing.assert_close(head(torch.stack([u, -u])[None]), torch.tensor([[opposite]]))


def test_clamp_leaves_the_gradient_of_an_opposite_pair_in_training(config):
    head = CosineSimilarityHead(config(similarity_bounds="clamp")).train()
    pairs = torch.randn(1, 2, 16)
    pairs[0, 1] = -pairs[0, 0] + 0.1
    pairs.requires_grad_()
    head(pairs).sum().backward()
    assert pairs.grad.abs().sum() > 0


def test_score_range_scales_the_cosine(config):
    head = CosineSimilarityHead(config(score_range=[1.0, 3.0], similarity_bounds="scale"))
    u = torch.randn(16)
    torch.testing.assert_close(head(torch.stack([u, u])[None]), torch.tensor([[3.0]]))
    torch.testing.assert_close(head(torch.stack([u, -u])[None]), torch.tensor([[1.0]]))


def test_linear_similarity_clamps_outside_training_only(config):
    head = LinearSimilarityHead(config(similarity="linear", similarity_bounds="clamp", pair_features=["u", "v"]))
    torch.nn.init.constant_(head.classifier.bias, 99.0)
    pairs = torch.zeros(1, 2, 16)
    assert head.eval()(pairs).item() == 5.0
    assert head.train()(pairs).item() == 99.0


@pytest.mark.parametrize(
    ("kind", "fields", "head_class", "names"),
    [
        ("sentiment", {}, SentimentHead, ["very negative", "negative", "neutral", "positive", "very positive"]),
        ("paraphrase", {}, ParaphraseHead, ["not paraphrase", "paraphrase"]),
        ("similarity", {}, CosineSimilarityHead, ["similarity"]),
        ("similarity", {"similarity": "linear"}, LinearSimilarityHead, ["similarity"]),
        ("sentiment", {"class_names": ["down", "up"]}, SentimentHead, ["down", "up"]),
        ("paraphrase", {"class_names": ["no", "maybe", "yes"]}, ParaphraseHead, ["no", "maybe", "yes"]),
    ],
)
def test_a_head_gives_one_logit_for_each_label_that_its_config_then_names(config, kind, fields, head_class, names):
    head_config = config(**fields)
    head = build_head(kind, head_config)
    vectors = torch.randn(4, 16) if head.sentences_per_row == 1 else torch.randn(4, 2, 16)
    assert type(head) is head_class
    assert head(vectors).shape == (4, len(names))
    assert head_config.id2label == dict(enumerate(names))


def test_the_loss_of_classes_is_the_mean_cross_entropy(config):
    head = build_head("sentiment", config())
    logits, labels = torch.randn(3, 5), torch.tensor([4, 0, 2])
    expected = -sum(logits[row].log_softmax(0)[label] for row, label in enumerate(labels)) / 3
    torch.testing.assert_close(head.loss(logits, labels), expected)
    assert head.loss(logits.bfloat16(), labels).dtype == torch.float32

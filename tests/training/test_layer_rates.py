import pytest
from transformers import AutoModel

from extrabert_hf.training.layer_rates import depths_of_parameters
from tests.conftest import TINY_BACKBONES


@pytest.mark.parametrize("kind", TINY_BACKBONES)
def test_the_top_layer_has_depth_0_and_the_embeddings_the_number_of_layers(kind):
    backbone = AutoModel.from_config(TINY_BACKBONES[kind])
    depths = depths_of_parameters(backbone)
    named = {name: depths[id(parameter)] for name, parameter in backbone.named_parameters()}
    assert {depth for name, depth in named.items() if ".0." in name and "embedding" not in name} == {1}
    assert {depth for name, depth in named.items() if ".1." in name} == {0}
    assert {depth for name, depth in named.items() if name.startswith("embeddings")} == {2}
    assert len(depths) == len(named)

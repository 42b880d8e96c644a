import pytest
import torch

from benchmarks.workloads import with_two_forwards
from extrabert_hf.models import ExtraBertConfig, ExtraBertForParaphrase, ExtraBertForSimilarity

MODELS = pytest.mark.parametrize("model_class", [ExtraBertForParaphrase, ExtraBertForSimilarity])


@MODELS
def test_two_forwards_give_the_logits_of_one(model_class, tiny_bert, random_batch):
    model = model_class(ExtraBertConfig(backbone_config=tiny_bert)).eval()
    batch = random_batch(5)
    expected = model(**batch).logits
    assert torch.allclose(with_two_forwards(model).eval()(**batch).logits, expected, atol=1e-6)


@MODELS
def test_each_side_is_encoded_alone_and_padded_to_its_own_longest(model_class, tiny_bert):
    model = with_two_forwards(model_class(ExtraBertConfig(backbone_config=tiny_bert)))
    model.unpad = False
    shapes = []
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    mask = torch.tensor([[[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]])
    model(input_ids=mask * 7, attention_mask=mask)
    assert shapes == [(2, 5), (2, 3)]

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from transformers import (
    AlbertConfig,
    AutoModel,
    CamembertConfig,
    DebertaConfig,
    DebertaV2Config,
    ElectraConfig,
    ErnieConfig,
    ModernBertConfig,
    XLMRobertaConfig,
)

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask, ExtraBertForSentiment, ExtraBertForSimilarity
from extrabert_hf.models import MODEL_FOR_HEAD, unpadding_extrabert
from extrabert_hf.models.unpadding_extrabert import (
    RELATIVE,
    UNPADDABLE,
    UnpaddedBatch,
    lacks_kernel,
    unpadded_attention,
)
from tests.conftest import SIZES, TINY_BACKBONES

DISENTANGLED = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "pad_token_id": 0}
ENCODERS = {
    **{name: config for name, config in TINY_BACKBONES.items() if name in UNPADDABLE},
    "albert": AlbertConfig(**SIZES, embedding_size=8),
    "camembert": CamembertConfig(**SIZES, pad_token_id=1),
    "deberta": DebertaConfig(**SIZES, **DISENTANGLED),
    "deberta-v2": DebertaV2Config(**SIZES, **DISENTANGLED, position_buckets=4, norm_rel_ebd="layer_norm"),
    "electra": ElectraConfig(**SIZES, embedding_size=8),
    "modernbert": ModernBertConfig(
        **SIZES, pad_token_id=0, local_attention=4, global_attn_every_n_layers=2
    ),  # a token of the second layer attends to 2 tokens on each side
    "xlm-roberta": XLMRobertaConfig(**SIZES, pad_token_id=1),
}


def drawn(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def both_ways(model, **batch):
    """Returns logits, loss and gradients without padding, and with it."""
    for unpad in (True, False):
        model.unpad = unpad
        model.zero_grad()
        output = model(**batch)
        output.loss.backward()
        yield [output.logits, output.loss, *(parameter.grad for parameter in model.parameters())]


def assert_same(with_padding, without):
    for padded, unpadded in zip(with_padding, without, strict=True):
        assert (padded is None) == (unpadded is None)
        if padded is not None:
            torch.testing.assert_close(unpadded, padded, atol=1e-5, rtol=1e-4)


def test_every_kind_that_can_unpad_is_tried():
    assert set(ENCODERS) == set(UNPADDABLE)


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "dot", "multiplicative"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_logits_and_gradients_are_those_of_the_padded_batch(kind, pooling, random_batch):
    if pooling == "pooler" and not hasattr(AutoModel.from_config(ENCODERS[kind]), "pooler"):
        pytest.skip("has no pooler")
    for head, model_class in MODEL_FOR_HEAD.items():
        model = drawn(model_class(ExtraBertConfig(backbone_config=ENCODERS[kind].to_dict(), pooling=pooling)))
        seen = []
        hook = model.backbone.embeddings.register_forward_hook(
            lambda _, args, output, s=seen: s.append(output.shape[:2])
        )
        batch = random_batch(6, pair=head != "sentiment") | {"labels": torch.tensor([0, 1, 1, 0, 1, 0])}
        assert_same(*both_ways(model, **batch))
        assert seen == [(1, batch["attention_mask"].sum()), (batch["input_ids"].flatten(0, -2).shape)]
        hook.remove()


def test_the_model_of_several_tasks_unpads_too(tiny_bert, random_batch):
    model = drawn(ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert)))
    assert_same(*both_ways(model, task="sts", labels=torch.tensor([0.5, 3.0, 5.0]), **random_batch(3)))
    batch = random_batch(3)
    mixed = model(task=["sst", "sts", "para"], **batch).logits
    model.unpad = True
    torch.testing.assert_close(model(task=["sst", "sts", "para"], **batch).logits, mixed)


def test_padding_may_stand_anywhere_and_a_sentence_may_be_all_padding(tiny_bert):
    model = drawn(ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert, pooling="mean")))
    ids = torch.randint(5, 99, (3, 5))
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]])
    assert model(ids, torch.zeros_like(mask)).logits.isfinite().all()  # nothing but padding
    unpadded, padded = (
        result[0] for result in both_ways(model, input_ids=ids, attention_mask=mask, labels=torch.arange(3))
    )
    torch.testing.assert_close(unpadded[:2], padded[:2])
    assert unpadded.isfinite().all()


@pytest.mark.parametrize(("kind", "shape"), [("mpnet", (2, 7)), ("deberta-v2", (1, 14)), ("bert", (1, 14))])
def test_mpnet_keeps_a_batch_that_has_no_padding_as_it_is(kind, shape):
    model = ExtraBertForSentiment(ExtraBertConfig(backbone_config=ENCODERS[kind].to_dict())).eval()
    seen = []
    model.backbone.embeddings.register_forward_hook(lambda *call: seen.append(call[2].shape[:2]))
    model(input_ids=torch.randint(5, 99, (2, 7)))
    assert seen == [shape]


@pytest.mark.parametrize(
    "fields",
    [
        {"position_biased_input": False, "type_vocab_size": 0, "position_buckets": 2, "share_att_key": True},
        {"pos_att_type": ["c2p"], "max_relative_positions": 3},  # a sentence has more tokens
        {"pos_att_type": ["p2c"], "max_relative_positions": 3, "embedding_size": 8},
    ],
)
@pytest.mark.parametrize("kind", ["deberta", "deberta-v2"])
def test_every_form_of_disentangled_attention(kind, fields, random_batch):
    encoder = {**ENCODERS[kind].to_dict(), "position_buckets": -1, **fields}
    model = drawn(ExtraBertForSentiment(ExtraBertConfig(backbone_config=encoder, pooling="mean")))
    assert model.why_padded() is None
    assert_same(*both_ways(model, labels=torch.arange(5), **random_batch(5, pair=False)))


@pytest.mark.parametrize("kind", [*RELATIVE, "modernbert"])
def test_relative_positions_count_tokens_that_the_mask_hides(kind):
    config = ExtraBertConfig(backbone_config=ENCODERS[kind].to_dict(), pooling="mean")
    model = drawn(ExtraBertForSentiment(config))
    batch = {"input_ids": torch.randint(5, 99, (3, 5)), "labels": torch.arange(3)}
    for mask in ([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0], [1, 0, 0, 0, 0]], [[1, 0, 1, 0, 1], [1, 1, 0, 1, 1], [1] * 5]):
        assert_same(*both_ways(model, attention_mask=torch.tensor(mask), **batch))


def test_no_sentence_sees_another(tiny_bert, random_batch):
    model = drawn(ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)))
    batch = random_batch(5)
    before = model(**batch).logits
    batch["input_ids"][2] = torch.randint(5, 99, (2, 7)) * batch["attention_mask"][2]
    changed = (model(**batch).logits != before).flatten()
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("kind", ["bert", "modernbert", *RELATIVE])
def test_dropout_falls_on_the_attention_of_unpadded_sentences(kind):
    encoder = {**ENCODERS[kind].to_dict(), "hidden_dropout_prob": 0.0, "attention_dropout": 0.1}
    config = ExtraBertConfig(backbone_config=encoder, head_dropout=0.0)
    model = drawn(ExtraBertForSentiment(config)).train()
    batch = {"input_ids": torch.randint(5, 99, (2, 7)), "attention_mask": torch.tensor([[1] * 7, [1] * 6 + [0]])}
    assert (model(**batch).logits != model(**batch).logits).all()


@pytest.mark.parametrize(
    ("encoder", "attention", "reason"),
    [
        (ErnieConfig(**SIZES), None, "not supported by ernie encoders"),
        (ENCODERS["bert"], "eager", "not supported by the attention 'eager'"),
        (DebertaConfig(**SIZES), None, "not supported by this form of deberta encoders"),  # no relative positions
        (
            DebertaV2Config(**SIZES, **DISENTANGLED, conv_kernel_size=3),
            None,
            "not supported by this form of deberta-v2 encoders",
        ),
    ],
)
def test_an_encoder_that_needs_padding_says_why(encoder, attention, reason, random_batch):
    config = ExtraBertConfig(backbone_config=encoder.to_dict())
    model = ExtraBertForSentiment._from_config(config, attn_implementation=attention).eval()
    assert model.why_padded() == reason
    assert model(**random_batch(2, pair=False)).logits.shape == (2, 5)
    model.unpad = False
    assert model.why_padded() == "disabled by unpad=False"


def test_on_a_gpu_one_kernel_takes_all_lengths(monkeypatch):
    """Its arguments, with a stand-in for what runs on CUDA only."""
    calls = []

    def varlen_attn(query, key, value, starts_q, starts_k, longest_q, longest_k):
        calls.append((longest_q, longest_k))
        parts = [
            functional.scaled_dot_product_attention(
                *(states[start:stop].transpose(0, 1) for states in (query, key, value))
            ).transpose(0, 1)
            for start, stop in zip(starts_q[:-1].tolist(), starts_k[1:].tolist(), strict=True)
        ]
        return torch.cat(parts)

    monkeypatch.setattr(unpadding_extrabert, "varlen_attn", varlen_attn)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    capability = (8, 0)
    unpadded = UnpaddedBatch.of(torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]]))
    states = torch.randn(3, 1, 2, 7, 8, dtype=torch.bfloat16)  # query, key, value
    plain, _ = unpadded_attention(torch.nn.Module(), *states, None, scaling=8**-0.5, unpadded=unpadded)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    by_kernel, _ = unpadded_attention(torch.nn.Module(), *states, None, scaling=8**-0.5, unpadded=unpadded)
    assert calls == [(3, 3)] and unpadded.offsets.dtype == torch.int32
    torch.testing.assert_close(by_kernel, plain, atol=5e-3, rtol=0.05)
    unpadded_attention(torch.nn.Module(), *states, None, dropout=0.1, unpadded=unpadded)  # the kernel has no dropout,
    unpadded_attention(torch.nn.Module(), *states, None, scaling=0.3, unpadded=unpadded)  # no other scale,
    unpadded_attention(torch.nn.Module(), *states.float(), None, unpadded=unpadded)  # no float32,
    unpadded_attention(torch.nn.Module(), *states[..., :4], None, unpadded=unpadded)  # no width of 4,
    capability = (7, 5)  # and does not run on earlier GPUs
    unpadded_attention(torch.nn.Module(), *states, None, unpadded=unpadded)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("kind", "training", "dtype", "why"),
    [
        ("bert", False, torch.bfloat16, None),
        ("bert", True, torch.bfloat16, "the GPU's attention kernel does not support dropout"),
        ("distilbert", True, torch.bfloat16, "the GPU's attention kernel does not support dropout"),
        ("deberta", True, torch.float16, "the GPU's attention kernel does not support deberta encoders"),
        ("bert", False, torch.float32, "no attention kernel for float32 on this cuda device"),
        ("mpnet", False, torch.bfloat16, "the GPU's attention kernel does not support mpnet encoders"),
        ("modernbert", False, torch.bfloat16, "the GPU's attention kernel does not support modernbert encoders"),
    ],
)
def test_on_a_gpu_sentences_are_padded_without_a_kernel_for_all_lengths(kind, training, dtype, why, monkeypatch):
    """With a stand-in for an encoder on a GPU: one call a length took seconds a step there."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    encoder = SimpleNamespace(
        config=ENCODERS[kind], parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda"), dtype=dtype)])
    )
    assert lacks_kernel(encoder, training) == why
    assert lacks_kernel(AutoModel.from_config(ENCODERS[kind]), training) is None  # on a CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_the_kernel_gives_what_padding_gives(tiny_bert, random_batch):
    model = drawn(ExtraBertForSimilarity(ExtraBertConfig(backbone_config={**tiny_bert, "num_attention_heads": 1})))
    batch = {name: tensor.cuda() for name, tensor in {**random_batch(6), "labels": torch.ones(6)}.items()}
    with torch.autocast("cuda", torch.bfloat16):
        unpadded, padded = (logits for logits, *_ in both_ways(model.cuda(), **batch))
    torch.testing.assert_close(unpadded, padded, atol=0.05, rtol=0.05)

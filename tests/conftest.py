import pytest
import torch
from transformers import BertConfig, DistilBertConfig, ModernBertConfig, MPNetConfig, RobertaConfig, set_seed

SIZES = {
    "vocab_size": 99,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 48,
}

TINY_BACKBONES = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES, pad_token_id=1),
    "distilbert": DistilBertConfig(vocab_size=99, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
    "mpnet": MPNetConfig(**SIZES, pad_token_id=1),
    "modernbert": ModernBertConfig(
        **SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
    ),
}


@pytest.fixture(autouse=True)
def _seed():
    set_seed(0)


@pytest.fixture
def tiny_bert():
    return TINY_BACKBONES["bert"].to_dict()


@pytest.fixture
def random_batch():
    """Makes token ids and a mask with real padding: each sentence has a length of its own, the first is the longest."""

    def make(rows, seq=7, pair=True):
        shape = (rows, 2, seq) if pair else (rows, seq)
        lengths = torch.randint(2, seq + 1, shape[:-1])
        lengths[0] = seq
        attention_mask = (torch.arange(seq) < lengths.unsqueeze(-1)).long()
        return {"input_ids": torch.randint(5, 99, shape) * attention_mask, "attention_mask": attention_mask}

    return make

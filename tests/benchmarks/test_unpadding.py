from transformers import MPNetConfig

from benchmarks import unpadding
from extrabert_hf.models.unpadding_extrabert import UNPADDABLE
from tests.conftest import SIZES


def test_both_ways_take_turns_and_the_first_batch_is_also_run_untimed(monkeypatch):
    calls, times = [], iter([7.0, 9.0, 3.0, 2.0, 2.0, 5.0, 9.0, 7.0, 2.0, 1.0, 2.0, 3.0])

    def seconds(model, batch, *, train, bf16):
        calls.append((train, model.unpad, model.training))
        return next(times)

    monkeypatch.setattr(unpadding, "seconds", seconds)
    encoder = MPNetConfig(**SIZES, pad_token_id=1)
    assert unpadding.gains(encoder, "sts", [{}, {}], bf16=False) == ((3 + 5) / (2 + 2), (2 + 3) / (1 + 2))
    ways = (True, False, False, True, True, False)
    assert calls == [(train, unpad, train) for train in (True, False) for unpad in ways]


def test_the_work_is_a_step_of_training_or_a_forward_pass(monkeypatch):
    batches = unpadding.batches_of("sst", "sample", 4, 3)
    lengths = [batch["input_ids"].shape[1] for batch in batches]
    assert lengths == sorted(lengths) and lengths[0] < lengths[2] and len(batches[0]["labels"]) == 4
    made = []
    seconds = unpadding.seconds

    def spied(model, batch, **options):
        spent = seconds(model, batch, **options)
        made.append(any(parameter.grad is not None for parameter in model.parameters()))
        return spent

    monkeypatch.setattr(unpadding, "seconds", spied)
    sizes = {**SIZES, "vocab_size": 30522, "max_position_embeddings": 130}
    unpadding.gains(MPNetConfig(**sizes, pad_token_id=1), "sst", batches[:1], bf16=False)
    assert made == [True] * 4 + [False] * 4
    assert set(unpadding.KINDS) <= set(UNPADDABLE)

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from extrabert_hf.errors import InputError
from extrabert_hf.pretrained import build_model
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.arguments import ExtraBertTrainingArguments
from extrabert_hf.training.contrastive import ContrastiveArguments, info_nce, pairs_of_text, pretrain

TEXT = """A dog runs in the park. Two dogs play with a ball! "Is it cold?" she asks.
The rain falls.

The museum is closed today.
It opens at 9 a.m. tomorrow.
"""


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 8)
    return path


def test_a_sentence_belongs_to_the_next_one_of_its_passage(text):
    pairs = list(pairs_of_text(text, "adjacent"))
    assert pairs[:4] == [
        ("A dog runs in the park.", "Two dogs play with a ball!"),
        ("Two dogs play with a ball!", '"Is it cold?" she asks.'),
        ('"Is it cold?" she asks.', "The rain falls."),
        ("The museum is closed today.", "It opens at 9 a.m. tomorrow."),
    ]


def test_with_dropout_a_sentence_belongs_to_itself(text):
    pairs = list(pairs_of_text(text, "dropout"))
    assert len(pairs) == 6 * 8 and all(first == second for first, second in pairs)


def test_the_loss_is_small_where_partners_are_alike_and_others_are_not():
    apart = torch.eye(4, 8)
    assert info_nce(apart, 3 * apart, 0.05) < 1e-6  # lengths do not count
    torch.testing.assert_close(info_nce(apart, torch.ones(4, 8), 0.05), torch.tensor(4.0).log())
    assert info_nce(apart, apart.roll(1, dims=0), 0.05) > 10


def test_pre_training_leaves_an_encoder_that_any_run_takes(tiny_encoder, text, tmp_path):
    training = ExtraBertTrainingArguments(
        output_dir=str(tmp_path / "out"),
        bf16=False,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        num_train_epochs=3,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        disable_tqdm=True,
    )
    folder = pretrain(ContrastiveArguments(str(text), tiny_encoder), training)
    before, after = AutoModel.from_pretrained(tiny_encoder), AutoModel.from_pretrained(folder)
    assert after.config._attn_implementation == "sdpa" and "extrabert" not in (folder / "config.json").read_text()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def loss(encoder):
        first, second = zip(*list(pairs_of_text(text, "adjacent"))[:4], strict=True)
        with torch.no_grad():
            vectors = [
                encoder(**tokenizer(list(its), padding=True, return_tensors="pt")).last_hidden_state[:, 0]
                for its in (first, second)
            ]
        return info_nce(*vectors, 0.05)

    assert loss(after.eval()) < loss(before.eval())
    assert build_model(str(folder), PAPER_TASKS["para"])[0].backbone.config.hidden_size == 16


@pytest.mark.parametrize(("text", "message"), [("One sentence.\n", "got 0 in"), (None, "that can be read, got")])
def test_a_text_without_pairs_is_refused(text, message, tiny_encoder, tmp_path):
    path = tmp_path / "text.txt"
    if text is not None:
        path.write_text(text)
    training = ExtraBertTrainingArguments(output_dir=str(tmp_path / "out"), bf16=False)
    with pytest.raises(InputError, match=message):
        pretrain(ContrastiveArguments(str(path), tiny_encoder), training)

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.contrastive import ContrastiveArguments, info_nce, pairs_of_text, pretrain, same_sentences
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

TEXT = """A dog runs in the park. Two dogs play with a ball! "Is it cold?" she asks.
The rain falls.

The museum is closed today.
It opens at 9 a.m. tomorrow.
"""

NO_EVALUATION = {"eval_strategy": "no", "load_best_model_at_end": False}


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


def test_copies_in_a_batch_are_not_taught_to_be_apart():
    pairs = torch.tensor([[[1, 2], [3, 4]], [[5, 6], [3, 4]], [[1, 2], [7, 8]], [[7, 8], [9, 9]]])
    same = same_sentences(pairs)
    assert [[i, j] for i, j in same.nonzero().tolist() if i < j] == [[0, 1], [0, 2]]
    assert [[i, j] for i, j in same.nonzero().tolist() if i > j] == [[1, 0], [2, 0], [3, 2]]
    vectors = torch.eye(4, 8)
    copied = vectors.clone()
    copied[1] = copied[0]  # the partners of the first two rows are one sentence
    assert info_nce(vectors, copied, 0.05) > 1
    masked = torch.zeros(4, 4, dtype=torch.bool)
    masked[0, 1] = masked[1, 0] = True
    assert info_nce(vectors[[0, 0, 2, 3]], copied, 0.05, masked) < 1e-6


def test_pre_training_leaves_an_encoder_that_any_run_takes(tiny_encoder, text, tmp_path):
    training = ExtraBertTrainingArguments(
        output_dir=str(tmp_path / "out"),
        bf16=False,
        save_strategy="no",
        **NO_EVALUATION,
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
                encoder(**tokenizer(list(sentences), padding=True, return_tensors="pt")).last_hidden_state[:, 0]
                for sentences in (first, second)
            ]
        return info_nce(*vectors, 0.05)

    assert loss(after.eval()) < loss(before.eval())
    assert build_model(str(folder), PAPER_TASKS["para"])[0].backbone.config.hidden_size == 16


@pytest.mark.parametrize(("text", "message"), [("One sentence.\n", "got 0 in"), (None, "that can be read, got")])
def test_a_text_without_pairs_is_refused(text, message, tiny_encoder, tmp_path):
    path = tmp_path / "text.txt"
    if text is not None:
        path.write_text(text)
    training = ExtraBertTrainingArguments(output_dir=str(tmp_path / "out"), bf16=False, **NO_EVALUATION)
    with pytest.raises(InputError, match=message):
        pretrain(ContrastiveArguments(str(path), tiny_encoder), training)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_balance": "sampling"}, "`label_balance` can't be used here: a text has no labels"),
        ({"r_drop": 1.0}, "`r_drop` can't be used"),
        ({"calibrate": True}, "`calibrate` can't be used"),
        ({"eval_strategy": "epoch"}, "`eval_strategy` must be 'no', .* got 'epoch'"),
        ({"eval_strategy": "epoch", "load_best_model_at_end": True}, "`eval_strategy` must be 'no', .* got 'epoch'"),
        ({"head_learning_rate": 2e-3}, "`head_learning_rate` can't be used .* Leave out --head_learning_rate"),
        ({"label_smoothing_factor": 0.1}, "`label_smoothing_factor` can't be used"),
        ({"per_device_eval_batch_size": 3}, "`per_device_eval_batch_size` can't be used"),
    ],
)
def test_what_needs_labels_or_scores_is_refused(options, message, tiny_encoder, text, tmp_path):
    training = ExtraBertTrainingArguments(output_dir=str(tmp_path / "out"), bf16=False, **NO_EVALUATION | options)
    with pytest.raises(InputError, match=message):
        pretrain(ContrastiveArguments(str(text), tiny_encoder), training)


def test_a_length_that_leaves_no_word_is_refused():
    with pytest.raises(InputError, match="`max_length` must be 3 or more, got 2"):
        ContrastiveArguments("text.txt", max_length=2)


def test_a_model_for_a_task_is_no_encoder(tiny_encoder, text, tmp_path):
    model, tokenizer = build_model(tiny_encoder, PAPER_TASKS["sts"])
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    training = ExtraBertTrainingArguments(output_dir=str(tmp_path / "out"), bf16=False, **NO_EVALUATION)
    with pytest.raises(InputError, match="must be an encoder, got a trained model in"):
        pretrain(ContrastiveArguments(str(text), str(tmp_path / "model")), training)


def test_what_is_begun_anew_forgets_the_checkpoints_before(tiny_encoder, text, tmp_path):
    options = {"bf16": False, "disable_tqdm": True, "save_strategy": "steps", "save_steps": 2} | NO_EVALUATION
    arguments, out = ContrastiveArguments(str(text), tiny_encoder), str(tmp_path / "out")
    pretrain(arguments, ExtraBertTrainingArguments(output_dir=out, max_steps=4, **options))
    assert RunFolder(tmp_path / "out").last_checkpoint.name == "checkpoint-4"
    pretrain(arguments, ExtraBertTrainingArguments(output_dir=out, max_steps=2, overwrite_output_dir=True, **options))
    assert RunFolder(tmp_path / "out").last_checkpoint.name == "checkpoint-2"


def test_pre_training_resumes_only_as_the_run_it_was(tiny_encoder, text, tmp_path):
    def resume(arguments, **options):
        options = (
            NO_EVALUATION | {"max_steps": 2, "bf16": False, "disable_tqdm": True, "save_strategy": "steps"} | options
        )
        return pretrain(arguments, ExtraBertTrainingArguments(output_dir=str(tmp_path / "run"), **options))

    arguments = ContrastiveArguments(str(text), tiny_encoder)
    resume(arguments, save_steps=1)
    last = {"resume_from_checkpoint": "last"}
    with pytest.raises(InputError, match="`per_device_train_batch_size` is 16 there, got 8"):
        resume(arguments, per_device_train_batch_size=8, **last)
    with pytest.raises(InputError, match=r"`temperature` is 0\.05 there, got 0\.5"):
        resume(ContrastiveArguments(str(text), tiny_encoder, temperature=0.5), **last)
    text.write_text(TEXT * 9)
    with pytest.raises(InputError, match=r"the split 'train' has 39 rows .* got 44 rows"):
        resume(arguments, **last)

import pytest
import torch
import torch.nn.functional as F

from extrabert_hf.training.objectives import Objective, disagreement, divergence

LOGITS, LABELS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 2])
SCORES, TARGETS = torch.tensor([[1.0], [4.0]]), torch.tensor([2.0, 4.5])


def test_alone_it_is_the_heads_own_loss():
    torch.testing.assert_close(Objective()(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))
    torch.testing.assert_close(Objective()(SCORES, TARGETS), F.mse_loss(SCORES[:, 0], TARGETS))


def test_a_row_counts_by_its_weight():
    rows = F.cross_entropy(LOGITS, LABELS, reduction="none")
    loss = Objective()(LOGITS, LABELS, torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(loss, (0.5 * rows[0] + 1.5 * rows[1]) / 2)


def test_r_drop_adds_nothing_where_both_passes_agree_and_both_are_trained():
    twice = torch.cat([LOGITS, LOGITS])
    torch.testing.assert_close(Objective(r_drop=3.0)(twice, LABELS), F.cross_entropy(LOGITS, LABELS))
    other = LOGITS + torch.tensor([[0.5, 0.0, 0.0]])
    loss = Objective(r_drop=3.0)(torch.cat([LOGITS, other]), LABELS)
    entropies = (F.cross_entropy(LOGITS, LABELS) + F.cross_entropy(other, LABELS)) / 2
    p, q = LOGITS.softmax(-1), other.softmax(-1)
    divergences = ((p - q) * (p.log() - q.log())).sum(-1).mean() / 2  # KL one way and the other
    torch.testing.assert_close(loss, entropies + 3 * divergences)
    torch.testing.assert_close(disagreement(SCORES, SCORES + 2), torch.tensor(4.0))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_teacher_has_its_share(share):
    teacher = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    loss = Objective(distillation=share, temperature=2.0)(LOGITS, LABELS, teacher_logits=teacher)
    of_teacher = 4 * divergence(teacher, LOGITS, 2.0).mean()
    torch.testing.assert_close(loss, (1 - share) * F.cross_entropy(LOGITS, LABELS) + share * of_teacher)
    scores = Objective(distillation=share)(SCORES, TARGETS, teacher_logits=SCORES + 1)
    torch.testing.assert_close(scores, (1 - share) * F.mse_loss(SCORES[:, 0], TARGETS) + share)


def test_a_student_that_predicts_as_its_teacher_has_no_distillation_loss():
    teacher = LOGITS + 7  # the same probabilities
    assert Objective(distillation=1.0)(LOGITS, LABELS, teacher_logits=teacher).abs() < 1e-6

import numpy as np
import pytest

from extrabert_hf.runs.answers import EXPLAINED


def test_errors_of_classes_are_wrong_answers_by_how_sure_they_were(answers_of):
    answers = answers_of("sst")
    wrong = answers.predictions != answers.labels
    assert 0 < wrong.sum() < len(wrong) and set(answers.worst) == set(np.flatnonzero(wrong))
    sure = answers.confidences[answers.worst]
    assert (np.diff(sure) <= 0).all() and (answers.errors[~wrong] == 0).all()
    assert ((answers.confidences >= 1 / 5) & (answers.confidences <= 1)).all()


def test_errors_of_scores_are_distances(answers_of):
    answers = answers_of("sts")
    assert answers.confidences is None
    np.testing.assert_allclose(answers.errors, np.abs(answers.predictions - answers.labels))
    assert answers.errors[answers.worst[0]] == answers.errors.max()


def test_the_worst_answers_are_explained(answers_of):
    answers = answers_of("para", rows=2 * EXPLAINED + 40)
    assert list(answers.explanations) == answers.worst[:EXPLAINED]
    row = answers.worst[0]
    name, probability = answers.explanations[row].answer.rsplit(", ", 1)
    assert name == answers.task.class_names[answers.predictions[row]]
    assert float(probability.rstrip(" %")) == pytest.approx(100 * answers.confidences[row], abs=0.06)


def test_the_words_are_those_of_the_longer_sentence(answers_of):
    answers = answers_of("para")
    assert answers.words.tolist() == [max(len(a.split()), len(b.split())) for a, b in answers.sentences]

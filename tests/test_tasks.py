import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec


def test_the_papers_tasks_have_its_heads_labels_and_metrics():
    assert {name: (task.head, len(task.class_names), task.metric) for name, task in PAPER_TASKS.items()} == {
        "sst": ("sentiment", 5, "accuracy"),
        "para": ("paraphrase", 2, "accuracy"),
        "sts": ("similarity", 0, "pearson"),
    }
    assert PAPER_TASKS["sts"].label_range == (0.0, 5.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head": "ranking"}, "`head` must be one of"),
        ({"head": "similarity", "name": "a/b c"}, "must be at most 64 letters, digits, '_' or '-', got 'a/b c'"),
        ({"head": "similarity", "label_range": (5.0, 0.0)}, "`label_min` must be below `label_max`, got 5.0 and 0.0"),
        ({"head": "sentiment", "class_names": ("one",)}, "must name at least 2 classes"),
        ({"head": "sentiment", "class_names": ("a", "a")}, "must differ from each other"),
    ],
)
def test_a_task_that_no_head_can_learn_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        TaskSpec(**{"name": "mine", **fields})

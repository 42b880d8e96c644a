import optuna
import pytest
from optuna.trial import TrialState

from extrabert_hf.errors import InputError
from extrabert_hf.search.arguments import SearchArguments
from extrabert_hf.search.study import (
    ERROR,
    PLAN,
    Plan,
    finished_trials,
    open_study,
    plan_trials,
    planned_trials,
    states_of_plans,
)


@pytest.fixture
def study(tmp_path):
    return open_study(SearchArguments(output_dir=str(tmp_path), pruner="none"))


def test_plans_are_queued_once_however_often_a_search_is_called(study):
    plan_trials(study, 3)
    plan_trials(study, 3)
    assert [trial.user_attrs[PLAN] for trial in planned_trials(study)] == [0, 1, 2]
    plan_trials(study, 4)
    assert states_of_plans(study) == dict.fromkeys(range(4), Plan.WAITING)


def test_a_plan_is_done_once_a_trial_of_it_had_an_end_of_its_own(study):
    plan_trials(study, 4)
    scored, pruned, failed, killed = (study.ask() for _ in range(4))
    study.tell(scored, 0.5)
    study.tell(pruned, state=TrialState.PRUNED)
    failed.set_user_attr(ERROR, "out of memory")
    study.tell(failed, state=TrialState.FAIL)
    assert states_of_plans(study) == {0: Plan.DONE, 1: Plan.DONE, 2: Plan.DONE, 3: Plan.RUNNING}
    study.tell(killed, state=TrialState.FAIL)  # as the heartbeat finds it, which queues the plan again:
    study.enqueue_trial({"learning_rate": 1e-5}, user_attrs={PLAN: 3})
    assert states_of_plans(study)[3] is Plan.WAITING
    again = study.ask()
    assert states_of_plans(study)[3] is Plan.RUNNING
    study.tell(again, 0.7)
    assert [trial.value for trial in finished_trials(study)] == [0.5, None, None, 0.7]


def test_a_trial_beyond_the_plans_counts_for_nothing(study):
    plan_trials(study, 1)
    study.tell(study.ask(), 0.5)
    study.tell(study.ask(), state=TrialState.PRUNED)
    assert len(study.trials) == 2 and len(finished_trials(study)) == len(states_of_plans(study)) == 1


def test_a_storage_that_cannot_be_opened_is_named_in_one_line(tmp_path):
    for storage in ("nonsense", f"sqlite:///{tmp_path}/missing/study.db"):
        with pytest.raises(InputError, match="`storage` can't be opened") as caught:
            open_study(SearchArguments(output_dir=str(tmp_path), storage=storage))
        assert "\n" not in str(caught.value)


def test_what_a_search_cannot_be_told_is_named():
    with pytest.raises(InputError, match="`task` must be one of 'sst', 'para', 'sts', 'multitask', got 'nli'"):
        SearchArguments(task="nli")
    with pytest.raises(InputError, match="`workers` must be 1 or more, got 0"):
        SearchArguments(workers=0)


def test_optuna_stays_quiet(study):
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING

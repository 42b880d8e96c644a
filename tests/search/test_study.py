import optuna
import pytest
from optuna.trial import TrialState

from extrabert_hf.errors import InputError
from extrabert_hf.search.arguments import SearchArguments
from extrabert_hf.search.study import (
    DOUBLE,
    ERROR,
    INTERRUPTED,
    PLAN,
    TRIES,
    Plan,
    error_of,
    finished_trials,
    open_study,
    plan_trials,
    renew_lost,
    state_of,
    trials_of_plans,
)

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")


@pytest.fixture
def study(tmp_path):
    return open_study(SearchArguments(output_dir=str(tmp_path), pruner="none"))


def states(study):
    return {plan: state_of(trials) for plan, trials in trials_of_plans(study).items()}


def test_plans_are_queued_once_however_often_a_search_is_called(study):
    plan_trials(study, 3)
    plan_trials(study, 3)
    assert {plan: len(trials) for plan, trials in trials_of_plans(study).items()} == {0: 1, 1: 1, 2: 1}
    plan_trials(study, 4)
    assert states(study) == dict.fromkeys(range(4), Plan.WAITING)


def test_a_plan_is_done_once_a_trial_of_it_had_an_end_of_its_own(study):
    plan_trials(study, 4)
    scored, pruned, failed, killed = (study.ask() for _ in range(4))
    drawn = killed.suggest_float("learning_rate", 0.0, 1.0)
    study.tell(scored, 0.5)
    study.tell(pruned, state=TrialState.PRUNED)
    failed.set_user_attr(ERROR, "out of memory")
    assert states(study)[2] is Plan.RUNNING  # what it fails of is noted first
    study.tell(failed, state=TrialState.FAIL)
    assert states(study) == {0: Plan.DONE, 1: Plan.DONE, 2: Plan.DONE, 3: Plan.RUNNING}
    study.tell(killed, state=TrialState.FAIL)  # as Ctrl-C leaves it, or the heartbeat finds it
    assert states(study)[3] is Plan.LOST
    renew_lost(study)
    assert states(study)[3] is Plan.WAITING
    again = study.ask()
    assert again.suggest_float("learning_rate", 0.0, 1.0) == drawn
    study.tell(again, 0.7)
    finished = finished_trials(study)
    assert [trial.value for trial in finished] == [0.5, None, None, 0.7]
    assert [error_of(trial) for trial in finished] == ["", "", "out of memory", ""]


def test_a_plan_whose_last_trial_drew_nothing_keeps_what_the_one_before_drew(study):
    plan_trials(study, 1)
    first = study.ask()
    drawn = first.suggest_float("learning_rate", 0.0, 1.0)
    study.tell(first, state=TrialState.FAIL)
    renew_lost(study)
    study.tell(study.ask(), state=TrialState.FAIL)  # killed before it drew
    renew_lost(study)
    assert study.ask().suggest_float("learning_rate", 0.0, 1.0) == drawn


def test_the_median_pruner_stops_a_trial_from_its_first_evaluation_on(tmp_path):
    study = open_study(SearchArguments(output_dir=str(tmp_path), pruner="median"))
    plan_trials(study, 5)
    for score in (0.8, 0.8, 0.8, 0.8, 0.1):
        trial = study.ask()
        trial.report(score, 1)
        assert trial.should_prune() == (score == 0.1)
        study.tell(trial, score)


def test_a_plan_whose_trials_are_always_killed_is_given_up(study):
    plan_trials(study, 1)
    for _ in range(TRIES):
        study.tell(study.ask(), state=TrialState.FAIL)
        renew_lost(study)
    assert states(study) == {0: Plan.DONE}
    assert [error_of(trial) for trial in finished_trials(study)] == ["killed 3 times"]


def test_what_failed_before_any_had_a_score_is_tried_again_by_the_next_call(study):
    plan_trials(study, 2)
    failed = study.ask()
    failed.set_user_attr(ERROR, "no space left on device")
    study.tell(failed, state=TrialState.FAIL)
    plan_trials(study, 2)
    assert states(study) == {0: Plan.WAITING, 1: Plan.WAITING}
    study.tell(study.ask(), 0.5)
    failed = study.ask()
    failed.set_user_attr(ERROR, "diverged")
    study.tell(failed, state=TrialState.FAIL)
    plan_trials(study, 2)
    assert states(study) == {0: Plan.DONE, 1: Plan.DONE}  # one has a score: the other failed of what it tried


def test_a_trial_whose_plan_was_taken_counts_for_nothing(study):
    plan_trials(study, 1)
    study.enqueue_trial({}, user_attrs={PLAN: 0})  # by a search that began at the same time
    study.tell(study.ask(), 0.5)
    double = study.ask()
    double.set_user_attr(DOUBLE, True)
    study.tell(double, state=TrialState.PRUNED)
    study.tell(study.ask(), state=TrialState.PRUNED)  # of no plan
    assert len(study.trials) == 3 and [trial.value for trial in finished_trials(study)] == [0.5]


def test_an_interrupted_trial_is_no_try_of_its_plan(study):
    plan_trials(study, 1)
    for _ in range(TRIES + 2):
        trial = study.ask()
        trial.set_user_attr(INTERRUPTED, True)
        study.tell(trial, state=TrialState.FAIL)
        assert states(study) == {0: Plan.LOST}
        renew_lost(study)
    study.tell(study.ask(), 0.5)
    assert [trial.value for trial in finished_trials(study)] == [0.5]


@pytest.mark.parametrize("name", ["a?b", "100%", "a%20b", "x#1", "a b", "it's", "é", "{y}", 'a"b', "a;b&c=d", "@"])
def test_a_study_is_in_its_folder_whatever_the_name(name, tmp_path):
    for _ in range(2):
        study = open_study(SearchArguments(output_dir=str(tmp_path / name)))
        plan_trials(study, 2)
    assert len(trials_of_plans(study)) == 2
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.db")] == [f"{name}/study.db"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_storage_that_cannot_be_opened_is_an_error_of_one_line(tmp_path):
    for storage in ("nonsense", f"sqlite:///{tmp_path}/missing/study.db"):
        with pytest.raises(InputError, match="`storage` can't be opened") as caught:
            open_study(SearchArguments(output_dir=str(tmp_path), storage=storage))
        assert "\n" not in str(caught.value)


def test_flags_that_a_search_does_not_take_are_named():
    with pytest.raises(InputError, match="`task` must be one of 'sst', 'para', 'sts', 'multitask', got 'nli'"):
        SearchArguments(task="nli")
    with pytest.raises(InputError, match="`workers` must be 1 or more, got 0"):
        SearchArguments(workers=0)
    with pytest.raises(InputError, match="`search_seed` must be 0 or more, got -1"):
        SearchArguments(search_seed=-1)


def test_optuna_stays_quiet(study):
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING

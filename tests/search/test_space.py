from pathlib import Path

import optuna
import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.search.space import flags_of, read_space

PAPER = Path(__file__).parents[2] / "recipes" / "configs" / "search" / "paper.yaml"


@pytest.fixture
def space(tmp_path):
    def write(text):
        (tmp_path / "space.yaml").write_text(text)
        return read_space(tmp_path / "space.yaml")

    return write


def test_the_papers_search_is_random_over_batch_size_and_learning_rate():
    space = read_space(PAPER)
    assert (space.method, space.run_cap) == ("random", 20)
    trial = optuna.create_study().ask()
    tried = space.suggest(trial)
    assert tried["per_device_train_batch_size"] in (4, 8, 12)
    assert 1e-6 <= tried["learning_rate"] <= 1e-4 and trial.distributions["learning_rate"].log


def test_every_form_of_a_parameter_is_drawn_in_its_range(space):
    found = space(
        "method: bayes\n"
        "parameters:\n"
        "  pooling: {values: [mean, cls]}\n"
        "  num_train_epochs: {min: 2, max: 4}\n"
        "  head_dropout: {min: 0.0, max: 0.5}\n"
        "  weight_decay: {value: 0.1}\n"
        "  pair_features: {value: [u, v]}\n"
    )
    study = optuna.create_study()
    tried = [found.suggest(study.ask()) for _ in range(20)]
    assert {values["pooling"] for values in tried} == {"mean", "cls"}
    assert {values["num_train_epochs"] for values in tried} == {2, 3, 4}
    assert all(0 <= values["head_dropout"] <= 0.5 for values in tried)
    assert flags_of({name: tried[0][name] for name in ("weight_decay", "pair_features")}) == [
        "--weight_decay=0.1",
        *("--pair_features", "u", "v"),
    ]


def test_the_corners_have_each_choice_and_each_end(space):
    found = space(
        "parameters: {pooling: {values: [mean, cls, dot]}, head_dropout: {min: 0.0, max: 0.5}, seed: {value: 7}}"
    )
    corners = found.corners()
    assert [values["pooling"] for values in corners] == ["mean", "cls", "dot"]
    assert [values["head_dropout"] for values in corners] == [0.0, 0.5, 0.5] and corners[0]["seed"] == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: random", "`space` must have `parameters`, a mapping of arguments, got none"),
        (
            "method: grid\nparameters: {seed: {values: [1]}}",
            "`method` in .* must be one of 'random', 'bayes', got 'grid'",
        ),
        (
            "parameters: {learning_rate: {min: 1e-6, max: 1e-4}}",
            "`learning_rate` in .* with a point .*got {'min': '1e-6'",
        ),
        ("parameters: {seed: {min: 3, max: 3}}", "`seed` in .* must have .* `min` < `max`"),
        ("parameters: {seed: {values: []}}", "`seed` in .* must have `values`"),
        ("parameters: {x: {min: 0.0, max: 1.0, distribution: log_uniform_values}}", "'log_uniform_values' .above 0."),
        ("parameters: {pair_features: {values: [[u], [v]]}}", "`values` .a list of words or numbers."),
        ("run_cap: many\nparameters: {seed: {values: [1]}}", "`run_cap` in .* must be 1 or more, got 'many'"),
        ("parameters: [", "`space` must be YAML"),
    ],
)
def test_a_space_that_cannot_be_searched_is_an_error_of_one_line(space, text, message):
    with pytest.raises(InputError, match=message) as caught:
        space(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="`space` must be a YAML file or a name"):
        read_space(tmp_path / "none.yaml")

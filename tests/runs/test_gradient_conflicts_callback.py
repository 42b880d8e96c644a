import os

import pytest
import torch
from transformers import TrainerState

from extrabert_hf.runs.gradient_conflicts import (
    ConflictSummary,
    GradientConflicts,
    read_conflicts,
    summarize_conflicts,
)


def begun(path, step=0):
    conflicts = GradientConflicts(path)
    conflicts.on_train_begin(None, TrainerState(global_step=step, is_world_process_zero=True), None)
    return conflicts


GRAM = torch.tensor([[4.0, -2.0], [-2.0, 4.0]])


def test_the_cosine_of_each_two_tasks_is_noted(tmp_path):
    conflicts = begun(tmp_path / "run" / "conflicts.csv")
    gradients = torch.tensor([[3.0, 4.0], [0.0, -2.0], [1.0, 0.0]], dtype=torch.float64)
    conflicts.add(1, ["a", "b", "c"], gradients @ gradients.T)
    assert conflicts.rows == [(1, "a", "b", -0.8), (1, "a", "c", 0.6), (1, "b", "c", 0.0)]
    assert read_conflicts(conflicts.path) == conflicts.rows


def test_a_gradient_without_direction_has_no_cosine(tmp_path):
    conflicts = begun(tmp_path / "conflicts.csv")
    for value in (0.0, torch.inf, torch.nan):
        conflicts.add(1, ["a", "b"], torch.tensor([[1.0, value], [value, value]]))
    assert conflicts.rows == []
    assert summarize_conflicts(conflicts.rows) == ConflictSummary(steps=0, conflicting_steps=None, pairs={})
    assert conflicts.window() == {}


def test_a_resumed_run_has_each_step_once_and_a_new_one_none_of_the_earlier(tmp_path):
    path = tmp_path / "conflicts.csv"
    killed = begun(path)
    for step in (1, 2, 3):
        killed.add(step, ["a", "b"], GRAM)
    with path.open("a") as file:
        file.write("4,a,b,-0.12")  # cut short
    resumed = begun(path, step=2)  # the last checkpoint
    resumed.add(3, ["a", "b"], GRAM)
    assert [row[0] for row in resumed.rows] == [1, 2, 3]
    assert read_conflicts(path) == resumed.rows
    assert begun(path).rows == read_conflicts(path) == []


def test_a_kill_during_the_resume_keeps_the_earlier_steps(tmp_path, monkeypatch):
    path = tmp_path / "conflicts.csv"
    conflicts = begun(path)
    for step in (1, 2, 3):
        conflicts.add(step, ["a", "b"], GRAM)

    def killed(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "fsync", killed)
        begun(path, step=2)
    assert read_conflicts(path) == conflicts.rows and len(conflicts.rows) == 3
    assert path.read_text().splitlines()[:2] == ["step,first,second,cosine", "1,a,b,-0.5"]


def test_only_the_first_process_writes(tmp_path):
    conflicts = GradientConflicts(tmp_path / "conflicts.csv")
    conflicts.on_train_begin(None, TrainerState(is_world_process_zero=False), None)
    conflicts.add(1, ["a", "b"], GRAM)
    assert len(conflicts.rows) == 1
    assert not conflicts.path.exists()


def test_a_window_is_what_came_since_the_last_one(tmp_path):
    conflicts = begun(tmp_path / "conflicts.csv")
    conflicts.add(1, ["a", "b"], GRAM)
    assert conflicts.window() == {"cosine_a_b": -0.5, "conflicting_steps": 1.0}
    conflicts.add(2, ["a", "b"], GRAM.abs())
    assert conflicts.window() == {"cosine_a_b": 0.5, "conflicting_steps": 0.0}
    assert conflicts.window() == {}

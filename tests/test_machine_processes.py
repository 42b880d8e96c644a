import pytest
import torch

from extrabert_hf.errors import InputError
from extrabert_hf.machine import check_group, join_processes, leave_group


def test_without_a_launcher_a_process_is_alone():
    state = join_processes()
    assert (state.num_processes, state.process_index, state.is_main_process) == (1, 0, True)


def test_processes_that_find_no_group_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="The launcher started 2 processes, but they make a group of 1"):
        check_group(1)
    check_group(2)


def test_a_group_is_left_once_and_no_group_is_none(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    leave_group()
    assert not torch.distributed.is_initialized()
    leave_group()

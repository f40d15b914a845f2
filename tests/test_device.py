import pytest
import torch

from course_lib.device import best_device, set_threads, threads


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_environment_chooses_threads(monkeypatch):
    monkeypatch.setenv("COURSE_THREADS", "2")
    with threads(1):
        set_threads()
        assert torch.get_num_threads() == 2
    monkeypatch.setenv("COURSE_THREADS", "two")
    with pytest.raises(ValueError, match="COURSE_THREADS"):
        set_threads()
    monkeypatch.setenv("COURSE_THREADS", "²")  # a digit, but no number
    with pytest.raises(ValueError, match="COURSE_THREADS"):
        set_threads()
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)


def test_best_device_is_there():
    assert torch.ones(1, device=best_device()).item() == 1

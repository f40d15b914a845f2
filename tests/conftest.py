"""Settings for every test: one thread, quiet, and markers that skip with a reason."""

import os

import hypothesis
import pytest
import torch

torch.set_num_threads(1)

# No deadline, as these machines are shared; the same examples every time, so that a failure can be repeated.
hypothesis.settings.register_profile("course", deadline=None, derandomize=True)
hypothesis.settings.load_profile("course")


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU or the real image data where there is none, and say what is missing."""
    no_gpu = pytest.mark.skip(reason="no CUDA device")
    no_data = pytest.mark.skip(reason="COURSE_DATA is not set: it names the folder with mnist.npz and cifar10.npz")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if "data" in item.keywords and not os.environ.get("COURSE_DATA"):
            item.add_marker(no_data)

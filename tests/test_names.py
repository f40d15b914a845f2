import math

import numpy as np
import pytest
import torch

from course_lib.names import check_fraction, check_name, check_not_negative, check_positive, check_whole


def test_the_nearest_name_is_suggested():
    check_name("fruit", "pear", ("pear", "plum"))
    with pytest.raises(ValueError, match=r"unknown fruit 'paer': did you mean 'pear'\? Known: pear, plum"):
        check_name("fruit", "paer", ("pear", "plum"))


def test_whole_numbers():
    # catches: epochs=1.5 that trains 2 epochs, True taken as 1
    for good in (1, 7, np.int64(3)):
        check_whole("epochs", good)
    for bad in (1.5, 2.0, "3", True, None):
        with pytest.raises(TypeError, match="epochs must be a whole number, got"):
            check_whole("epochs", bad)
    with pytest.raises(ValueError, match="k must be at least 2, got 1"):
        check_whole("k", 1, low=2)


@pytest.mark.parametrize(
    ("check", "good", "bad", "words"),
    [
        (check_positive, (1e-300, 5), (0, -1, math.inf, math.nan), "x must be > 0 and finite, got"),
        (check_not_negative, (0, 5.0), (-1e-300, math.inf, math.nan), "x must be ≥ 0 and finite, got"),
        (check_fraction, (0, 0.999), (-1e-9, 1, math.nan), r"x must be in \[0, 1\), got"),
    ],
)
def test_ranges_of_numbers_and_of_tensors(check, good, bad, words):
    # catches: < for ≤, NaN let through, a tensor of which only the first or any element is looked at
    for value in good:
        check("x", value)
    check("x", torch.tensor(good, dtype=torch.float64))
    check("x", np.array(good))
    for value in bad:
        for wrong in (value, torch.tensor([good[0], value, good[1]], dtype=torch.float64), np.array([value, good[0]])):
            with pytest.raises(ValueError, match=words):
                check("x", wrong)

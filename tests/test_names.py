import numpy as np
import pytest

from course_lib.names import check_name, check_whole


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

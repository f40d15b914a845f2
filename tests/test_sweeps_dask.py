"""Sweeps on a cluster: Dask distributed, with two local workers."""

import os
import signal
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from distributed import Client, LocalCluster

from course_lib.losses import cross_entropy
from course_lib.models import MLP
from course_lib.optimizers import SGD, Adam, Momentum
from course_lib.rng import generator
from course_lib.sweeps import sweep

OPTIONS = {
    "epochs": 2,
    "seeds": range(3),
    "batch_size": 16,
    "grid": {"rule": {"a": SGD(0.1), "b": Adam(), "c": Momentum()}},
    "device": "cpu",
    "progress": False,
}


def mlp(g):
    return MLP((6, 8, 3), torch.tanh, generator=g).double()


def data(n=64):
    x = torch.randn(n, 6, generator=generator(0, "dask"), dtype=torch.float64)
    return x, (x[:, 0] > 0).long()


@pytest.fixture(scope="module")
def client():
    options = {"host": "127.0.0.1", "dashboard_address": None, "worker_dashboard_address": None}
    with LocalCluster(2, threads_per_worker=1, **options) as cluster, Client(cluster) as client:
        yield client


def deadly(flag, outputs, labels):
    """Kill the worker that comes first; those that come later go on. Each says that it was here."""
    first = not Path(flag).exists()
    with open(flag, "a") as file:
        file.write("x")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return cross_entropy(outputs, labels)


def test_dask_gives_the_same_tables(client):
    here = sweep(mlp, data(), SGD(), **OPTIONS)
    there = sweep(mlp, data(), SGD(), executor=client.get_executor(), **OPTIONS)
    pd.testing.assert_frame_equal(here.runs, there.runs)
    pd.testing.assert_frame_equal(here.frame, there.frame)


def test_a_worker_killed_midway_is_retried_and_nothing_is_twice(client, tmp_path):
    # catches: a group that is lost, or counted twice, when its worker dies
    here = sweep(mlp, data(), SGD(), **OPTIONS)
    loss = partial(deadly, str(tmp_path / "killed"))
    there = sweep(mlp, data(), SGD(), executor=client.get_executor(), loss=loss, **OPTIONS)
    assert (tmp_path / "killed").exists()
    pd.testing.assert_frame_equal(here.runs, there.runs)
    pd.testing.assert_frame_equal(here.frame, there.frame)

"""Sweeps against separate runs of `fit`, and what happens when something goes wrong."""

import concurrent.futures
import math
import multiprocessing

import pandas as pd
import pytest
import torch
from torch import nn

from course_lib import noise, sweeps
from course_lib.clipping import ClipNorm, ClipNormPerTensor, ClipValue
from course_lib.losses import SmoothedCrossEntropy, mean_squared_error
from course_lib.models import MLP, ConvNet, ResidualMLP
from course_lib.normalization import (
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    spectral_norm,
    weight_norm,
)
from course_lib.optimizers import RULES, SGD, SWATS, Adam, Momentum
from course_lib.regularization import L1, L2, MaxNorm, WeightDecay
from course_lib.rng import generator
from course_lib.schedules import Cosine, LinearWarmup, Performance, StepDecay
from course_lib.sweeps import SweepError, sweep
from course_lib.training import fit

CPU = {"device": "cpu", "progress": False}


def data(n=64, features=6, name="train", dtype=torch.float64):
    x = torch.randn(n, features, generator=generator(0, name), dtype=dtype)
    return x, (x[:, 0] + x[:, 1] > 0).long() + (x[:, 2] > 0.5).long()


def mlp(g, **options):
    return MLP((6, 8, 3), torch.tanh, generator=g, **options).double()


def conv1d(g):
    return ConvNet((2, 3), (4, 3), 3, torch.tanh, generator=g, kernel=(3, 2), stride=1).double()


def conv2d(g):
    layers = ConvNet((1, 2, 3), (3,), 3, torch.tanh, generator=g, kernel=2, stride=1).double()
    return nn.Sequential(layers)


def residual(g, skip="add"):
    return ResidualMLP(6, 5, 3, 3, torch.tanh, generator=g, skip=skip, growth=2).double()


def jitter(x, y):
    return x + 0.1 * (noise.uniform(x.shape, x.dtype) - 0.5), y


def both(build=mlp, rule=None, *, rtol=1e-10, atol=1e-10, **options):
    """Run a sweep stacked and one by one, hold every number of both to each other; return the stacked one."""
    defaults = {"epochs": 3, "seeds": range(4), "batch_size": 16, "val_data": data(40, name="val"), **CPU}
    train = options.pop("data", None) or data()
    stacked, alone = (
        sweep(build, train, rule or SGD(0.1), stack=stack, **(defaults | options)) for stack in (True, False)
    )
    pd.testing.assert_frame_equal(stacked.runs, alone.runs, rtol=rtol, atol=atol)
    pd.testing.assert_frame_equal(stacked.frame, alone.frame, rtol=rtol, atol=atol)
    for a, b in zip(stacked.step_loss, alone.step_loss, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
    for run in stacked.runs.index[stacked.runs.diverged_at.isna()]:
        ours, theirs = stacked.model(run).state_dict(), alone.model(run).state_dict()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=rtol, atol=atol, msg=name)
    return stacked


def test_32_runs_with_everything_switched_on_are_32_runs_of_fit():
    # catches: any of these in another order, on another stream of noise, or at another run's value
    def build(g, dropout):
        return mlp(g, norm=nn.BatchNorm1d, dropout=dropout)

    result = both(
        build,
        Momentum(0.1, 0.8),
        seeds=range(4),
        grid={"lr": [0.03, 0.3], "dropout": [0.0, 0.3], "clip": [ClipNorm(0.5), ClipNorm(5.0)]},
        schedule=LinearWarmup(3, then=Cosine(20)),
        penalty=(L2(1e-2), L1(1e-3)),
        constraint=(MaxNorm(1.5), WeightDecay(0.01)),
        augment=jitter,
        loss=SmoothedCrossEntropy(0.1),
        epochs=6,
        patience=2,
        restore_best=True,
    )
    assert len(result.runs) == 32
    assert result.runs.epochs.nunique() > 1  # early stopping ended some runs before the others
    assert result.runs.val_loss.nunique() == 32


@pytest.mark.parametrize("build", [mlp, conv1d, conv2d, residual, lambda g: residual(g, "concat")])
def test_every_architecture(build):
    # catches: a convolution by slices that is no convolution; a skip that mixes runs
    both(build)


@pytest.mark.parametrize("norm_after", [False, True])
@pytest.mark.parametrize(
    "norm", [BatchNorm, lambda n: BatchRenorm(n, 0.3, r_max=1.5, d_max=0.5), LayerNorm, lambda n: GroupNorm(n, 2)]
)
def test_every_normalisation_of_dense_layers(norm, norm_after):
    # catches: running statistics shared by the runs, or lost after a step; a mean over the axis of runs
    result = both(lambda g: mlp(g, norm=norm, norm_after=norm_after), epochs=2)
    for run in result.runs.index:
        assert [int(b) for n, b in result.model(run).named_buffers() if "batches" in n] in ([], [8])


@pytest.mark.parametrize(
    "norm", [BatchNorm, lambda n: BatchRenorm(n, 0.3), LayerNorm, InstanceNorm, lambda n: GroupNorm(n, n)]
)
@pytest.mark.parametrize(("in_shape", "kernel"), [((1, 6), 3), ((1, 2, 3), 2)])
def test_every_normalisation_of_convolutions(in_shape, kernel, norm):
    def build(g):
        layers = {"kernel": kernel, "stride": 1, "norm": norm, "generator": g}
        return ConvNet(in_shape, (2,), 3, torch.tanh, **layers).double()

    both(build, epochs=2)


def test_our_batch_norm_trains_as_torchs():
    # catches: a gradient or a running statistic that agrees alone and not under the map
    options = {"epochs": 3, "seeds": range(4), "batch_size": 16, "val_data": data(40, name="val"), **CPU}
    ours, theirs = (
        sweep(lambda g, norm=norm: mlp(g, norm=norm), data(), SGD(0.1), **options)
        for norm in (BatchNorm, nn.BatchNorm1d)
    )
    pd.testing.assert_frame_equal(ours.frame, theirs.frame, rtol=1e-10, atol=1e-10)


class _NormedWeights(nn.Module):
    """A dense network with a weight of normed length and one of normed spectrum."""

    def __init__(self, g):
        super().__init__()
        self.first, self.second = mlp(g).layers
        self.length = nn.Parameter(torch.ones(8, dtype=torch.float64))
        self.register_buffer("u", torch.ones(3, dtype=torch.float64))

    def forward(self, x):
        a = torch.tanh(x @ weight_norm(self.first.weight, self.length).T + self.first.bias)
        weight, u = spectral_norm(self.second.weight, self.u)
        if self.training:
            self.u.copy_(u)
        return a @ weight.T + self.second.bias


def test_normed_weights():
    # catches: a singular vector shared by the runs or started anew; a check that can't be made under the map
    result = both(_NormedWeights)
    vectors = [result.model(run).u for run in result.runs.index]
    assert not any(torch.allclose(u, torch.ones(3).double()) for u in vectors)
    assert not torch.allclose(vectors[0], vectors[1])


@pytest.mark.parametrize("name", RULES)
def test_every_rule_with_its_rates(name):
    # catches: hyperparameters of one run used for all; a bias correction off by one in the stack
    rule = RULES[name]()
    both(rule=rule, grid={"lr": [rule.lr, 3 * rule.lr]}, rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": Performance(0.5, patience=0)},
        {"grid": {"schedule": {"step": StepDecay(2, 0.5), "none": None}}},
        {"clip": ClipValue(0.01)},
        {"clip": (ClipNormPerTensor(0.1), ClipValue(0.05))},
        {"batch_size": 15},
        {"val_data": None},
        {"loss": mean_squared_error, "metrics": {}, "data": (data()[0], data()[0][:, :3]), "val_data": None},
        {"grid": {"batch_size": [8, 16], "epochs": [1, 2]}},
        {"patience": 1, "epochs": 12, "grid": {"lr": [0.5, 2.0]}},
    ],
    ids=lambda options: ",".join(options),
)
def test_every_setting(options):
    both(rule=SGD(0.2), **options)


def test_data_of_each_seed():
    # catches: one run's data taken for all
    both(data=lambda seed: data(name=f"train {seed}"), val_data=lambda seed: data(32, name=f"val {seed}"))


def test_frozen_parameters_stay_each_run_with_its_own():
    # catches: the first run's frozen weights used for all runs
    def build(g):
        model = mlp(g)
        model.layers[0].weight.requires_grad_(False)
        return model

    result = both(build)
    firsts = [result.model(run).layers[0].weight for run in range(4)]
    for seed, weight in enumerate(firsts):
        torch.testing.assert_close(weight, mlp(generator(seed, "weights")).layers[0].weight)


def test_compiled_is_uncompiled():
    # catches: a compiled step that reads another run's rate, or t from another step
    options = {"grid": {"lr": [0.01, 0.1]}, "epochs": 2, "seeds": range(3), "batch_size": 16, **CPU}
    plain, compiled = (sweep(mlp, data(), Adam(), compile=c, **options) for c in (False, True))
    pd.testing.assert_frame_equal(plain.frame, compiled.frame, rtol=1e-10)


def test_a_diverged_run_is_marked_and_its_neighbours_do_not_notice():
    # catches: NaN that spreads; a run that is given a result although it diverged; the wrong step
    def build(g):
        return MLP((6, 8, 3), torch.relu, generator=g).double()

    grid = {"lr": [0.1, 1e200]}
    result = both(build, SGD(0.1), grid=grid, seeds=range(3), val_data=data(40, name="val"))
    calm = sweep(build, data(), SGD(0.1), epochs=3, seeds=range(3), batch_size=16, val_data=data(40, name="val"), **CPU)
    lost = result.runs[result.runs.lr > 1]
    assert lost.diverged_at.between(2, 4).all()
    assert lost.val_loss.isna().all()
    assert (lost.epochs == 0).all()
    kept = result.runs[result.runs.lr < 1]
    torch.testing.assert_close(torch.tensor(kept.val_loss.values), torch.tensor(calm.runs.val_loss.values))


def test_parts_of_a_group_are_the_group():
    # catches: runs lost or doubled at the borders of the parts
    options = {"epochs": 2, "seeds": range(5), "batch_size": 16, "grid": {"lr": [0.1, 0.2]}, **CPU}
    whole, parts = (sweep(mlp, data(), SGD(), memory=m, **options) for m in (2e9, 1e5))
    pd.testing.assert_frame_equal(whole.frame, parts.frame, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:.*can't be stacked")
def test_a_model_that_cannot_be_mapped_is_run_alone_and_named():
    class Branching(nn.Module):
        def __init__(self, g):
            super().__init__()
            self.net = mlp(g)

        def forward(self, x):
            return self.net(x) if x.sum() > 0 else self.net(-x)

    options = {"epochs": 2, "seeds": range(2), "batch_size": 16, **CPU}
    with pytest.warns(UserWarning, match="Branching can't be stacked"):
        result = sweep(Branching, data(), SGD(0.1), **options)
    model = Branching(generator(1, "weights"))
    fit(model, data(), SGD(0.1), epochs=2, batch_size=16, generator=generator(1, "training"), **CPU)
    torch.testing.assert_close(result.model(1).net.layers[0].weight, model.net.layers[0].weight)


def test_torch_dropout_differs_between_runs_and_repeats():
    def build(g):
        model = mlp(g)
        return nn.Sequential(model, nn.Dropout(0.5))

    options = {"epochs": 2, "seeds": range(3), "batch_size": 16, **CPU}
    first, again = (sweep(build, data(), SGD(0.1), **options).frame for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first.train_loss.nunique() == len(first)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": {"learning_rate": [0.1]}}, "unknown hyperparameter 'learning_rate'"),
        ({"grid": {"beta1": [0.9]}}, "unknown hyperparameter 'beta1'"),
        ({"grid": {"lr": 0.1}}, "'lr' must be a list"),
        ({"grid": {"lr": []}}, "at least one value"),
        ({"grid": {"lr": [0.1, 0.1]}}, "no two alike"),
        ({"grid": {"lr": [0.1, -1]}}, "lr must be > 0"),
        ({"grid": {"seed": [1]}}, "'seed' is a column"),
        ({"grid": {"rule": {"sgd": SGD(), "adam": Adam()}, "beta1": [0.5]}}, "no hyperparameter of SGD"),
        ({"seeds": [0, 0]}, "different"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [-1]}, "at least 0"),
        ({"memory": 0}, "memory must be > 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 65}, "at most the number of samples"),
        ({"patience": 2, "val_data": None}, "patience needs val_data"),
        ({"restore_best": True, "val_data": None}, "restore_best needs val_data"),
    ],
)
def test_bad_input_is_named_before_anything_runs(change, words):
    options = {"epochs": 2, "seeds": range(2), "batch_size": 16, **CPU}

    def build(g, width=8):
        return MLP((6, width, 3), generator=g).double()

    with pytest.raises(ValueError, match=words):
        sweep(build, data(), SGD(0.1), **(options | change))


def test_build_must_make_a_module():
    with pytest.raises(TypeError, match=r"build must return a torch\.nn\.Module"):
        sweep(lambda g: None, data(), SGD(0.1), epochs=1, seeds=[0], **CPU)


def test_a_sweep_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    # catches: finished groups trained again; results of another sweep taken for this one's
    options = {"epochs": 2, "seeds": range(2), "batch_size": 16, "grid": {"rule": {"a": SGD(0.1), "b": Adam()}}, **CPU}
    whole = sweep(mlp, data(), SGD(), **options)
    trained = []

    def train(group, real=sweeps.train):
        if len(trained) == 1:
            trained.append(None)
            raise KeyboardInterrupt
        trained.append(group)
        return real(group)

    monkeypatch.setattr(sweeps, "train", train)
    with pytest.raises(KeyboardInterrupt):
        sweep(mlp, data(), SGD(), folder=tmp_path, **options)
    resumed = sweep(mlp, data(), SGD(), folder=tmp_path, **options)
    assert [type(g.runs[0].rule).__name__ for g in trained if g] == ["SGD", "Adam"]
    pd.testing.assert_frame_equal(whole.runs, resumed.runs)
    pd.testing.assert_frame_equal(whole.frame, resumed.frame)
    sweep(mlp, data(), SGD(), folder=tmp_path, **(options | {"epochs": 1}))
    assert len(trained) == 5


def test_two_sweeps_do_not_write_to_one_folder(tmp_path):
    def build(g):
        with pytest.raises(SweepError, match="another sweep is writing"), sweeps._alone(tmp_path):
            pass
        return mlp(g)

    with sweeps._alone(tmp_path):
        build(generator(0))
    sweep(mlp, data(), SGD(0.1), epochs=1, seeds=[0], folder=tmp_path, **CPU)


OPTIONS = {"epochs": 2, "seeds": range(3), "batch_size": 16, "grid": {"rule": {"a": SGD(0.1), "b": Adam()}}, **CPU}


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_an_executor_gives_the_same_tables(pool):
    # catches: groups that come back in the order in which they finish; a task that can't be sent
    context = multiprocessing.get_context("spawn")
    makers = {
        "threads": lambda: concurrent.futures.ThreadPoolExecutor(2),
        "processes": lambda: concurrent.futures.ProcessPoolExecutor(2, mp_context=context),
    }
    here = sweep(mlp, data(), SGD(), **OPTIONS)
    with makers[pool]() as executor:
        there = sweep(mlp, data(), SGD(), executor=executor, **OPTIONS)
    pd.testing.assert_frame_equal(here.runs, there.runs)
    pd.testing.assert_frame_equal(here.frame, there.frame)


def test_an_executor_that_dies_keeps_what_was_finished(tmp_path):
    class Dying(concurrent.futures.Executor):
        def submit(self, function, group):
            future = concurrent.futures.Future()
            if isinstance(group.runs[0].rule, SGD):
                future.set_result(function(group))
            else:
                future.set_exception(concurrent.futures.BrokenExecutor("a worker was killed"))
            return future

    with pytest.raises(SweepError, match=r"1 of 2 groups are finished .*call the sweep again"):
        sweep(mlp, data(), SGD(), executor=Dying(), folder=tmp_path, **OPTIONS)
    with pytest.raises(SweepError, match="give the sweep a folder"):
        sweep(mlp, data(), SGD(), executor=Dying(), **OPTIONS)
    again = sweep(mlp, data(), SGD(), folder=tmp_path, **OPTIONS)
    pd.testing.assert_frame_equal(again.runs, sweep(mlp, data(), SGD(), **OPTIONS).runs)


def test_the_tables_say_what_was_run():
    result = sweep(
        mlp, data(), Adam(0.01), epochs=2, seeds=[3, 5], batch_size=16, val_data=data(40, name="val"),
        schedule=StepDecay(4, 0.1), grid={"clip": {"tight": ClipNorm(0.1), "none": None}, "beta1": [0.5, 0.9]}, **CPU,
    )  # fmt: skip
    assert list(result.runs.columns) == [
        "run", "clip", "beta1", "lr", "seed", "diverged_at", "epochs",
        "train_loss", "val_loss", "val_accuracy", "best_epoch", "best_val_loss",
    ]  # fmt: skip
    assert list(result.runs["clip"]) == ["tight"] * 4 + ["none"] * 4
    assert list(result.runs.beta1) == [0.5, 0.5, 0.9, 0.9] * 2
    assert list(result.runs.seed) == [3, 5] * 4
    assert list(result.frame[result.frame.run == 0].scheduled_lr) == pytest.approx([0.01, 0.001])
    assert len(result.frame) == 16
    assert [len(losses) for losses in result.step_loss] == [8] * 8
    with pytest.raises(ValueError, match="run must be below 8"):
        result.model(8)


def test_swats_sees_the_whole_network():
    # catches: the switch decided tensor by tensor, or for all runs together
    both(rule=SWATS(0.05), grid={"lr": [0.05, 0.1]}, epochs=6)


@pytest.mark.gpu
def test_gpu_sweep_is_the_cpu_sweep():
    options = {"epochs": 2, "seeds": range(4), "batch_size": 16, "grid": {"lr": [0.01, 0.1]}, "progress": False}
    here, there = (sweep(mlp, data(), Adam(), device=d, **options) for d in ("cpu", "cuda"))
    pd.testing.assert_frame_equal(here.frame, there.frame, rtol=1e-8)


def test_the_memory_of_a_part_is_kept():
    assert math.isclose(len(sweeps._parts(list(range(10)), _run(), 1e12)), 1)
    assert [len(part) for part in sweeps._parts(list(range(10)), _run(), 1.0)] == [1] * 10


def _run():
    from course_lib.groups import Run

    return Run({}, 0, mlp(generator(0)), data(), None, SGD(0.1), nn.functional.cross_entropy)


def test_over_seeds_is_the_median_and_the_middle_share():
    # catches: the mean for the median; a point drawn for one seed that survived of many
    table = pd.DataFrame(
        {"lr": [0.1] * 5 + [0.2] * 5, "loss": [1, 2, 3, 4, 90, 5, math.nan, math.nan, math.nan, 7], "arm": ["a"] * 10}
    )
    series, bands = sweeps.over_seeds(table, "lr", "loss", "arm", band=0.5)
    assert [values.tolist() for values in series["a"]] == [[0.1], [3.0]]
    assert [values.tolist() for values in bands["a"]] == [[2.0], [4.0]]
    with pytest.raises(ValueError, match="unknown column 'rate'"):
        sweeps.over_seeds(table, "rate", "loss", "arm")
    with pytest.raises(ValueError, match="band must be"):
        sweeps.over_seeds(table, "lr", "loss", "arm", band=0)

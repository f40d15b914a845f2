"""A training run that stops and goes on ends as one that did not stop, or says why it can't."""

import io

import pytest
import torch

from course_lib import checkpoints, training
from course_lib.checkpoints import CheckpointError
from course_lib.models import MLP, ResidualMLP
from course_lib.optimizers import SGD, Adam, Momentum, TorchOptimizer
from course_lib.rng import generator
from course_lib.schedules import StepDecay
from course_lib.training import evaluate, fit

STEPS = 100
SCHEDULE = StepDecay(30, 0.5)


class Killed(Exception):
    pass


def data():
    x = torch.randn(95, 6, generator=generator(0, "x"))
    return x, (x.sum(1) > 0).long()


def network(activation=torch.relu, dropout=0.4):
    return MLP((6, 10, 2), activation, generator=generator(0), norm=torch.nn.BatchNorm1d, dropout=dropout)


def run(path=None, kill_at=None, make=lambda model: Adam(0.01), epochs=10, schedule=SCHEDULE, **change):
    """Train for 100 steps with dropout, batch norm, shuffling and a schedule; return all that it ends in."""
    model = network()

    def kill(event):
        if event.step == kill_at:
            raise Killed

    settings = {
        "epochs": epochs,
        "batch_size": 10,
        "val_data": data(),
        "generator": generator(3),
        "schedule": schedule,
        "callbacks": [kill],
        "device": "cpu",
        "checkpoint": path,
        "checkpoint_every": 1 if path else None,
    }
    history = fit(model, data(), make(model), **(settings | change))
    return model.state_dict(), history


def assert_identical(a, b):
    assert all(torch.equal(a[0][n], b[0][n]) for n in a[0])
    assert a[1] == b[1]


@pytest.mark.parametrize("first", range(1, STEPS + 1, 20))
def test_a_run_killed_at_any_step_ends_in_the_same_bits(tmp_path, first):
    # catches: the place in the permutation lost, dropout's generator lost, the schedule counted anew,
    # buffers left out, the history doubled. Every one of the 100 steps is tried.
    whole = run()
    assert len(whole[1].step_loss) == STEPS
    for kill_at in range(first, first + 20):
        path = tmp_path / f"{kill_at}.checkpoint"
        with pytest.raises(Killed):
            run(path, kill_at)
        assert_identical(run(path), whole)


@pytest.mark.parametrize(
    "make",
    [
        lambda m: torch.optim.Adam(m.parameters(), 0.01),
        lambda m: TorchOptimizer(m.parameters(), Momentum(0.05)),
    ],
)
def test_a_torch_optimiser_resumes_too(tmp_path, make):
    # catches: the optimiser's state lost, a schedule that starts from the decayed rate after a resume
    whole = run(make=make)
    for kill_at in (1, 37, 60, 99):
        path = tmp_path / f"{kill_at}.checkpoint"
        with pytest.raises(Killed):
            run(path, kill_at, make)
        assert_identical(run(path, make=make), whole)


def test_kill_between_two_checkpoints_resumes_from_the_last(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        run(path, 58, checkpoint_every=25)
    assert_identical(run(path, checkpoint_every=25), run())


def test_a_finished_run_is_not_trained_again_and_can_go_on(tmp_path):
    path = tmp_path / "run"
    short = run(path, epochs=6, checkpoint_every=7)
    assert_identical(run(path, kill_at=60, epochs=6), short)  # the callback would see step 60 again
    assert_identical(run(path, epochs=10), run())


def test_an_interrupted_cell_can_be_run_again_with_the_same_objects(tmp_path):
    # catches: the decayed rate left in the optimiser and taken for another configuration
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)

    def interrupt(event):
        if event.step == 47:
            raise KeyboardInterrupt

    settings = {"epochs": 10, "batch_size": 10, "val_data": data(), "schedule": SCHEDULE, "device": "cpu"}
    settings |= {"checkpoint": tmp_path / "run", "checkpoint_every": 7}
    with pytest.raises(KeyboardInterrupt):
        fit(model, data(), optimizer, generator=generator(3), callbacks=[interrupt], **settings)
    assert not model.training
    assert optimizer.param_groups[0]["lr"] == 0.05
    history = fit(model, data(), optimizer, generator=generator(3), **settings)
    whole = run(make=lambda m: torch.optim.SGD(m.parameters(), 0.05, momentum=0.9))
    assert_identical((model.state_dict(), history), whole)


def test_a_rate_that_a_scheduler_changed_is_no_other_configuration(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    settings = {"generator": generator(3), "checkpoint": tmp_path / "run", "device": "cpu"}
    fit(model, data(), optimizer, epochs=2, callbacks=[lambda e: scheduler.step()], **settings)
    assert optimizer.param_groups[0]["lr"] < 0.05
    history = fit(model, data(), optimizer, epochs=3, callbacks=[lambda e: scheduler.step()], **settings)
    assert len(history.records) == 3


def test_losses_that_are_read_late_as_on_a_gpu_are_all_there_after_a_resume(tmp_path, monkeypatch):
    # catches: losses that were still on the device when the checkpoint was written
    whole = run()
    make = training._Run.__init__

    def late(self, *args):
        make(self, *args)
        self.read_every = 50

    monkeypatch.setattr(training._Run, "__init__", late)
    with pytest.raises(Killed):
        run(tmp_path / "run", 37)
    assert_identical(run(tmp_path / "run"), whole)


def test_a_run_that_a_callback_ended_stays_ended(tmp_path):
    def stop(event):
        return event.step == 35

    whole = run(callbacks=[stop])
    assert len(whole[1].step_loss) == 35
    for _ in range(2):
        assert_identical(run(tmp_path / "run", callbacks=[stop], checkpoint_every=10), whole)
    assert_identical(run(tmp_path / "run", callbacks=(), checkpoint_every=10), whole)


def test_the_best_weights_survive_a_kill(tmp_path):
    # catches: best weights left out, or shared with the weights that go on to change
    def make(model):
        return SGD(2.0)  # far too large: validation loss goes up and down

    options = {"make": make, "restore_best": True, "schedule": None}
    whole = run(**options)
    assert whole[1].best["epoch"] < 10
    with pytest.raises(Killed):
        run(tmp_path / "run", 96, **options)
    again = run(tmp_path / "run", **options)
    assert_identical(again, whole)
    assert any(record is again[1].best for record in again[1].records)
    model = network()
    model.load_state_dict(again[0])
    assert evaluate(model, data())["loss"] == pytest.approx(whole[1].best["val_loss"])


def test_a_checkpoint_that_was_deleted_starts_the_run_anew(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path / "run", 37)
    (tmp_path / "run").unlink()
    assert_identical(run(tmp_path / "run"), run())


def test_another_configuration_is_refused_and_named(tmp_path):
    # catches: a part of the configuration that is not in the checkpoint
    path = tmp_path / "run"
    run(path, epochs=1)
    x, y = data()
    for change, words in [
        ({"make": lambda m: Adam(0.02)}, "lr=0.01.*lr=0.02"),
        ({"make": lambda m: torch.optim.Adam(m.parameters(), 0.01)}, "optimizer"),
        ({"schedule": StepDecay(31, 0.5)}, "schedule"),
        ({"batch_size": 5}, "batch_size"),
        ({"loss": torch.nn.functional.cross_entropy}, "loss"),
        ({"val_data": (x + 1, y)}, "val_data"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            run(path, **change)
    settings = {"epochs": 2, "batch_size": 10, "schedule": SCHEDULE, "val_data": data(), "device": "cpu"}
    frozen = network()
    frozen.layers[0].weight.requires_grad_(False)
    for model, inputs, words in [
        (network(dropout=0.3), x, r"dropout: saved 'Dropout\(rate=0.4.*rate=0.3"),
        (network(torch.tanh), x, r"activation=relu.*activation=tanh"),
        (frozen, x, "layers.0.weight"),
        (network(), x + 1, "data"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            fit(model, (inputs, y), Adam(0.01), generator=generator(3), checkpoint=path, **settings)
    assert len(run(path, epochs=2)[1].records) == 2  # the file survived all of that


def test_skip_connections_are_part_of_the_configuration(tmp_path):
    settings = {"epochs": 1, "checkpoint": tmp_path / "run", "device": "cpu"}
    add, none = (ResidualMLP(6, 4, 2, 2, generator=generator(0), skip=skip) for skip in ("add", "none"))
    fit(add, data(), SGD(0.1), generator=generator(3), **settings)
    with pytest.raises(CheckpointError, match=r"skip=add.*skip=none"):
        fit(none, data(), SGD(0.1), generator=generator(3), **settings)


def test_a_function_as_schedule_is_known_by_its_name_not_its_address(tmp_path):
    # catches: "<function … at 0x7f…>" in the settings, which no other process could match
    def make():
        return lambda t: 0.5 ** (t // 30)

    with pytest.raises(Killed):
        run(tmp_path / "run", 37, schedule=make())
    assert_identical(run(tmp_path / "run", schedule=make()), run())


def test_targets_of_any_layout_can_be_checkpointed(tmp_path):
    # catches: a digest that needs the last stride to be 1, which a transposed row does not have
    x, _ = data()
    target = x.sum(1)[None].T
    settings = {"loss": torch.nn.functional.mse_loss, "metrics": {}, "device": "cpu", "checkpoint": tmp_path / "run"}
    fit(torch.nn.Linear(6, 1), (x, target), SGD(0.1), epochs=1, generator=generator(0), **settings)


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    model = network()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(OSError, match="could not be written"):
        fit(model, data(), Adam(), epochs=1, generator=generator(0), checkpoint=tmp_path / "no" / "run", device="cpu")
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_a_checkpoint_from_a_gpu_goes_on_without_one_and_says_so(tmp_path):
    # catches: the generator of a device that is not there put back; nothing said about other bits
    path = tmp_path / "run"
    run(path, epochs=1)
    saved = torch.load(io.BytesIO(path.read_bytes().partition(b"\n")[2]), weights_only=True)
    gpu = {"device": "cuda", "cuda_generator": torch.zeros(16, dtype=torch.uint8)}
    checkpoints.save(path, saved["content"] | gpu, saved["settings"])
    with pytest.warns(UserWarning, match="written on cuda and the run goes on on cpu"):
        assert len(run(path, epochs=2)[1].records) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_gpu_resumes_in_the_same_bits_with_a_generator_on_either_side(tmp_path, device):
    whole = run(device="cuda", generator=generator(3, device=device))
    for kill_at in (1, 37, 60, 99):
        path = tmp_path / f"{kill_at}"
        with pytest.raises(Killed):
            run(path, kill_at, device="cuda", generator=generator(3, device=device))
        assert_identical(run(path, device="cuda", generator=generator(3, device=device)), whole)
    other = "cuda" if device == "cpu" else "cpu"
    with pytest.raises(CheckpointError, match="generator"):
        run(path, device="cuda", generator=generator(3, device=other))


@pytest.mark.gpu
@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_moves_between_cpu_and_gpu(tmp_path, first, then):
    run(tmp_path / "run", epochs=2, device=first)
    with pytest.warns(UserWarning, match="goes on on"):
        assert len(run(tmp_path / "run", epochs=4, device=then)[1].records) == 4

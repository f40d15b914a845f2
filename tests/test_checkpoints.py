import os
import signal
import time

import pytest
import torch

from course_lib import checkpoints
from course_lib.checkpoints import CheckpointError
from course_lib.models import MLP
from course_lib.optimizers import Adam, Momentum, TorchOptimizer
from course_lib.rng import generator
from course_lib.schedules import StepDecay
from course_lib.training import fit

STEPS = 100
SCHEDULE = StepDecay(30, 0.5)


class Killed(Exception):
    pass


def data():
    x = torch.randn(95, 6, generator=generator(0, "x"))
    return x, (x.sum(1) > 0).long()


def run(path=None, kill_at=None, make=lambda model: Adam(0.01), epochs=10, schedule=SCHEDULE, **change):
    """Train for 100 steps with dropout, batch norm, shuffling and a schedule; return all that it ends in."""
    model = MLP((6, 10, 2), generator=generator(0), batch_norm=True, dropout=0.4)

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
    whole = run(make=make, schedule=None)
    for kill_at in (1, 37, 60, 99):
        path = tmp_path / f"{kill_at}.checkpoint"
        with pytest.raises(Killed):
            run(path, kill_at, make, schedule=None)
        assert_identical(run(path, make=make, schedule=None), whole)


def test_kill_between_two_checkpoints_resumes_from_the_last(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        run(path, 58, checkpoint_every=25)
    assert_identical(run(path, checkpoint_every=25), run())


def test_a_finished_run_is_not_trained_again_and_can_go_on(tmp_path):
    path = tmp_path / "run"
    short = run(path, epochs=6)
    assert_identical(run(path, epochs=6), short)
    assert_identical(run(path, epochs=10), run())


def test_two_hundred_kills_during_save_lose_nothing(tmp_path):
    # catches: writing in place, or a rename before the data are on disk. SIGKILL at a random moment.
    path, rng = tmp_path / "run", generator(0)
    content = {"weights": torch.zeros(300_000)}
    checkpoints.save(path, content | {"n": 0}, {})
    while_saving = 0
    for _ in range(200):
        child = os.fork()
        if child == 0:
            try:
                n = checkpoints.load(path, {})["n"]
                while True:
                    n += 1
                    checkpoints.save(path, content | {"n": n}, {})
            finally:
                os._exit(1)  # never back into pytest
        time.sleep(0.02 * torch.rand((), generator=rng).item())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while_saving += path.with_name("run.tmp").exists()
        assert checkpoints.load(path, {})["weights"].shape == (300_000,)
    assert while_saving > 10  # many of the kills did hit a save
    assert checkpoints.load(path, {})["n"] > 20


def saved(tmp_path):
    path = tmp_path / "run"
    checkpoints.save(path, {"a": torch.arange(1000)}, {"batch_size": 8, "optimizer": "Adam"})
    return path


def test_truncated_or_altered_files_are_refused_and_left(tmp_path):
    path = saved(tmp_path)
    good = path.read_bytes()
    settings = {"batch_size": 8, "optimizer": "Adam"}
    assert torch.equal(checkpoints.load(path, settings)["a"], torch.arange(1000))
    for cut in (0, 10, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(CheckpointError, match=r"not a checkpoint|damaged"):
            checkpoints.load(path, settings)
        assert path.read_bytes() == good[:cut]
    for place in range(0, len(good), 97):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(CheckpointError, match=r"not a checkpoint|damaged"):
            checkpoints.load(path, settings)


def test_another_configuration_is_refused_and_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"batch_size: saved 8, now 16"):
        checkpoints.load(saved(tmp_path), {"batch_size": 16, "optimizer": "Adam"})
    path = tmp_path / "fit"
    run(path, epochs=1)
    for change, words in [
        ({"make": lambda m: Adam(0.02)}, "lr=0.01.*lr=0.02"),
        ({"schedule": StepDecay(31, 0.5)}, "schedule"),
        ({"batch_size": 5}, "batch_size"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            run(path, **change)
    x, y = data()
    with pytest.raises(CheckpointError, match="data"):
        fit(
            MLP((6, 10, 2), generator=generator(0), batch_norm=True, dropout=0.4),
            (x + 1, y),
            Adam(0.01),
            epochs=2,
            batch_size=10,
            schedule=SCHEDULE,
            generator=generator(3),
            checkpoint=path,
            device="cpu",
        )
    assert len(run(path, epochs=2)[1].records) == 2  # the file survived all of that


def test_other_threads_warn(tmp_path):
    path = saved(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.warns(UserWarning, match="threads 1 → 2"):
            checkpoints.load(path, {"batch_size": 8, "optimizer": "Adam"})
    finally:
        torch.set_num_threads(before)


def test_a_folder_that_cannot_be_written_keeps_the_old_file(tmp_path, monkeypatch):
    path = saved(tmp_path)
    good = path.read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*untouched"):
        checkpoints.save(path, {}, {})
    assert path.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    with pytest.raises(OSError, match="could not be written"):
        checkpoints.save(tmp_path / "missing" / "run", {}, {})


def test_reading_a_checkpoint_runs_no_code(tmp_path):
    import hashlib
    import io
    import pickle

    class Evil:
        def __reduce__(self):
            return (os.system, ("touch " + str(tmp_path / "ran"),))

    body = io.BytesIO()
    torch.save({"settings": {}, "environment": {}, "content": Evil()}, body)
    head = checkpoints._MAGIC + hashlib.sha256(body.getvalue()).hexdigest().encode() + b"\n"
    (tmp_path / "evil").write_bytes(head + body.getvalue())
    with pytest.raises(pickle.UnpicklingError):
        checkpoints.load(tmp_path / "evil", {})
    assert not (tmp_path / "ran").exists()

import os
import signal
import time

import pytest
import torch

from course_lib import checkpoints
from course_lib.checkpoints import CheckpointError, plain_name
from course_lib.rng import generator


def test_two_hundred_kills_during_save_lose_nothing(tmp_path):
    # catches: writing in place, or a rename before the data are on disk. SIGKILL at a random moment, after
    # a wait that grows until something was saved and then shrinks, so that it suits a busy machine too.
    path, rng = tmp_path / "run", generator(0)
    content = {"weights": torch.zeros(300_000)}
    checkpoints.save(path, content | {"n": 0}, {})
    done = while_saving = 0
    wait = 0.02
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
        time.sleep(wait * torch.rand((), generator=rng).item())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while_saving += path.with_name("run.tmp").exists()
        found = checkpoints.load(path, {})
        assert found["weights"].shape == (300_000,)
        assert found["n"] >= done
        wait *= 0.9 if found["n"] > done else 1.2
        done = found["n"]
    assert while_saving > 10  # many of the kills did hit a save
    assert done > 20


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
    with pytest.raises(CheckpointError, match=r"dropout: saved None, now 0.5"):
        checkpoints.load(saved(tmp_path), {"batch_size": 8, "optimizer": "Adam", "dropout": 0.5})
    with pytest.raises(CheckpointError, match=r"optimizer: saved 'Adam', now None"):
        checkpoints.load(saved(tmp_path), {"batch_size": 8})


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
    with pytest.raises(OSError, match="could not be written"):
        checkpoints.save(path / "below a file", {}, {})


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


def test_functions_without_a_name_are_told_apart_by_their_code():
    # catches: two lambdas as losses in one folder, taken for one
    def scaled(factor):
        return lambda z: factor * z

    assert plain_name(scaled(2.0)) == plain_name(scaled(2.0))
    assert plain_name(scaled(2.0)) != plain_name(scaled(3.0))
    assert plain_name(lambda z: z.relu()) != plain_name(lambda z: z.tanh())
    assert plain_name(lambda z: z + 1) != plain_name(lambda z: z + 2)
    assert " 0x" not in plain_name(lambda z: (lambda y: y)(z))

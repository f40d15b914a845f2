"""Image sets from a folder, and fetching them: every failure is one clear line, and nothing is lost.

A stand-in for OpenML's client, and its real one against a server on the loopback; never the network.
"""

import dataclasses
import gzip
import hashlib
import http.server
import json
import os
import threading
import urllib.error
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_lib.data import data_folder, fetch, fetching, files, load
from course_lib.rng import numpy_generator

SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty data folder, and sets of 30 training and 10 test images in place of the large ones."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    for name, images in files.IMAGES.items():
        tiny = dataclasses.replace(images, counts=((3,) * 10, (1,) * 10), sha256=())
        monkeypatch.setitem(files.IMAGES, name, tiny)
    return tmp_path


def arrays(name="mnist", seed=0):
    rng = numpy_generator(seed)
    x = rng.integers(0, 256, (40, *SHAPES[name]), dtype=np.uint8)
    y = np.tile(np.arange(10, dtype=np.uint8), 4)
    return {"x_train": x[:30], "y_train": y[:30], "x_test": x[30:], "y_test": y[30:]}


def save(folder, name="mnist", **changes):
    held = {k: v for k, v in (arrays(name) | changes).items() if v is not None}
    np.savez(folder / f"{name}.npz", **held)


def openml_answer(name, a):
    """What OpenML's client returns for these arrays: rows of numbers, colours in planes, labels as text."""
    x = np.concatenate([a["x_train"], a["x_test"]])
    x = x if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    y = np.concatenate([a["y_train"], a["y_test"]]).astype(str)
    return SimpleNamespace(data=x.reshape(len(x), -1).astype(np.int64), target=y)


def stand_in(monkeypatch, answer):
    calls = []

    def client(**options):
        calls.append(options)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(fetching, "fetch_openml", client)
    return calls


# --- reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_images_are_channels_first_in_0_to_1(folder, name):
    # catches colours taken for rows, a division by 256, and test images in the training part
    save(folder, name, y_train=arrays(name)["y_train"][:, None])  # labels (N, 1), as Keras's CIFAR-10
    a = arrays(name)
    train, test, both = (load(name, split) for split in ("train", "test", "all"))
    assert (train.n, test.n, both.n) == (30, 10, 40)
    assert torch.equal(both.x, torch.cat([train.x, test.x]))
    assert torch.equal(both.y, torch.cat([train.y, test.y]))
    image = a["x_test"][4].astype(np.float32) / 255
    expected = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
    np.testing.assert_array_equal(test.x[4], expected)
    assert test.x.is_contiguous()
    assert test.y[4] == 4


def test_the_folder_is_COURSE_DATA_or_the_users_cache(folder, monkeypatch):
    assert data_folder() == folder
    monkeypatch.delenv("COURSE_DATA")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    assert data_folder() == folder / "cache" / "course"
    with pytest.raises(FileNotFoundError, match=r"COURSE_DATA is not set; there is no such folder.*fetch mnist"):
        load("mnist")
    monkeypatch.setattr("sys.platform", "darwin")
    assert data_folder().parts[-3:] == ("Library", "Caches", "course")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(folder))
    assert data_folder() == folder / "course"


def test_a_missing_file_says_where_it_looked_and_how_to_get_it(folder, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"CIFAR-10 .*cifar10\.npz .*no such file.*course data fetch cifar10"):
        load("cifar10")
    monkeypatch.setenv("COURSE_DATA", str(folder / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"COURSE_DATA names .*nowhere; there is no such folder"):
        load("cifar10")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y_test": None}, r"no array y_test \(it has: x_train, y_train, x_test\)"),
        ({"x_train": arrays()["x_train"] / 255}, r"x_train must be uint8 of shape \(N, 28, 28\), got float64"),
        ({"x_train": arrays()["x_train"][:, :-1]}, r"got uint8 of \(30, 27, 28\)"),
        ({"x_test": arrays()["x_test"].reshape(10, -1)}, r"got uint8 of \(10, 784\)"),
        ({"y_train": arrays()["y_train"][:-1]}, r"y_train must hold a whole number for each of 30.*\(29,\)"),
        ({"y_train": np.eye(10)[arrays()["y_train"]]}, r"got float64 of \(30, 10\)"),
        ({"y_train": np.array(["5"] * 30, dtype=object)}, "truncated or damaged"),
        ({"y_train": arrays()["y_train"] + 1}, "0 … 9.*got 1 … 10"),
        ({"y_train": np.zeros(30, np.uint8)}, "none of: 1, 2"),
    ],
)
def test_a_file_of_another_form_is_refused(folder, changes, says):
    save(folder, **changes)
    with pytest.raises(ValueError, match=says):
        load("mnist", "test" if "test" in next(iter(changes)) else "train")


def test_a_truncated_or_flipped_file_is_refused_at_every_place(folder):
    # catches a loader that trusts whatever NumPy manages to read
    save(folder)
    path = folder / "mnist.npz"
    whole = path.read_bytes()
    for cut in range(0, len(whole), 2999):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="truncated or damaged"):
            load("mnist")
    for place in range(200, 20_000, 1999):  # inside the pixels
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="truncated or damaged"):
            load("mnist")
    path.write_bytes(b"<!DOCTYPE html><title>Moved</title>")
    with pytest.raises(ValueError, match=r"truncated or damaged.*course data fetch mnist --force"):
        load("mnist")


# --- fetching -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_fetch_writes_what_load_reads(folder, monkeypatch, name):
    # catches colours in the wrong order and a wrong cut between training and test images
    calls = stand_in(monkeypatch, openml_answer(name, arrays(name)))
    assert fetch(name) == folder / f"{name}.npz"
    assert calls[0]["data_id"] == {"mnist": 554, "fashion_mnist": 40996, "cifar10": 40927}[name]
    save(folder / ".." / folder.name, name)  # the same arrays, by hand
    by_hand = load(name)
    fetch(name, force=True)
    fetched = load(name)
    assert torch.equal(fetched.x, by_hand.x)
    assert torch.equal(fetched.y, by_hand.y)
    assert sorted(p.name for p in folder.iterdir()) == [f"{name}.npz", f"{name}.npz.sha256"]
    fetch(name)
    assert len(calls) == 2  # a sound file is not downloaded again


def test_a_sound_file_is_kept_and_a_damaged_one_never_overwritten_unasked(folder, monkeypatch):
    calls = stand_in(monkeypatch, openml_answer("mnist", arrays()))
    (folder / "mnist.npz").write_bytes(b"precious")
    with pytest.raises(ValueError, match="--force"):
        fetch("mnist")
    assert (folder / "mnist.npz").read_bytes() == b"precious"
    assert not calls


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (urllib.error.URLError("Name or service not known"), ConnectionError, "could not download.*not known.*check"),
        (TimeoutError("timed out"), ConnectionError, "timed out"),
        (ConnectionResetError("reset"), ConnectionError, "reset"),
        (urllib.error.HTTPError("", 503, "Unavailable", None, None), ConnectionError, "answers 503 Unavailable"),
        (http.client.IncompleteRead(b""), ValueError, "damaged.*broke off"),
        (EOFError("ended early"), ValueError, "damaged.*ended early"),
        (gzip.BadGzipFile("Not a gzipped file"), ValueError, "damaged.*gzipped"),
        (json.JSONDecodeError("Expecting value", "<html>", 0), ValueError, "no data at all.*Expecting value"),
        (SimpleNamespace(data=np.zeros((39, 784)), target=np.arange(39) % 10), ValueError, "images of each class"),
        (SimpleNamespace(data=np.zeros((40, 783)), target=np.arange(40) % 10), ValueError, "damaged"),
        (SimpleNamespace(data=np.full((40, 784), 0.5), target=np.arange(40) % 10), ValueError, "whole numbers"),
        (SimpleNamespace(data=np.zeros((40, 784)), target=np.zeros(40)), ValueError, "images of each class"),
        (SimpleNamespace(data=np.zeros((40, 784)), target=np.full(40, "x")), ValueError, "damaged"),
        (OSError(28, "No space left on device"), OSError, "cannot write to the data folder.*No space.*COURSE_DATA"),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_a_failed_download_changes_nothing(folder, monkeypatch, answer, kind, says, before):
    # catches a half-written file, a scratch folder left behind, and a good file replaced by a bad one
    if before:
        save(folder)
    held = {p.name: p.read_bytes() for p in folder.iterdir()}
    stand_in(monkeypatch, answer)
    with pytest.raises(kind, match=says) as caught:
        fetch("mnist", force=True)
    assert "\n" not in str(caught.value)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == held


def test_a_wrong_checksum_is_refused(folder, monkeypatch):
    # catches a checksum that is computed but not compared: of the known value, and of the first download
    other = openml_answer("mnist", arrays(seed=1))
    known = {k: files.sha256_of(v) for k, v in arrays().items()}
    pinned = dataclasses.replace(files.IMAGES["mnist"], sha256=tuple(known.items()))
    with monkeypatch.context() as patch:
        patch.setitem(files.IMAGES, "mnist", pinned)
        stand_in(patch, other)
        with pytest.raises(ValueError, match=r"wrong checksum for x_train.*known is"):
            fetch("mnist")
    assert not list(folder.iterdir())

    stand_in(monkeypatch, openml_answer("mnist", arrays()))
    fetch("mnist")
    held = (folder / "mnist.npz").read_bytes()
    stand_in(monkeypatch, other)
    with pytest.raises(ValueError, match="wrong checksum"):
        fetch("mnist", force=True)
    assert (folder / "mnist.npz").read_bytes() == held

    save(folder, x_test=arrays(seed=1)["x_test"])  # a sound npz file with other images
    with pytest.raises(ValueError, match=r"x_test has another checksum.*delete mnist\.npz\.sha256"):
        load("mnist")
    assert load("mnist", "train").n == 30
    (folder / "mnist.npz.sha256").write_text("<html>")
    with pytest.raises(ValueError, match="damaged: it must hold a checksum"):
        load("mnist")


def test_a_folder_that_cannot_be_written(folder, monkeypatch):
    (folder / "file").write_text("")
    stand_in(monkeypatch, openml_answer("mnist", arrays()))
    with pytest.raises(OSError, match=r"cannot write to the data folder.*set COURSE_DATA"):
        fetch("mnist", folder=folder / "file" / "below")
    monkeypatch.setattr(os, "replace", lambda a, b: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(OSError, match="Permission denied"):
        fetch("mnist")
    assert [p.name for p in folder.iterdir()] == ["file"]


def test_an_unknown_name_is_refused_before_anything_else(monkeypatch):
    calls = stand_in(monkeypatch, None)
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        fetch("cifar")
    assert not calls


# --- the real client, against a server on the loopback ------------------------------------------------


@pytest.fixture
def openml(monkeypatch):
    """OpenML's pages for a tiny MNIST, in a dict that a test may spoil."""
    answer = openml_answer("mnist", arrays())
    head = ["@RELATION tiny", *(f"@ATTRIBUTE p{i} INTEGER" for i in range(784))]
    head += ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "@DATA"]
    rows = [",".join(map(str, [*x, y])) for x, y in zip(answer.data, answer.target, strict=True)]
    arff = ("\n".join(head + rows) + "\n").encode()
    pages, site = {}, "sklearn.datasets._openml."

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = pages[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{server.server_address[1]}/"
    columns = [f"p{i}" for i in range(784)]
    features = [
        {"index": str(i), "name": name, "data_type": "nominal" if name == "class" else "numeric",
         "is_target": str(name == "class").lower(), "is_ignore": "false", "is_row_identifier": "false",
         "number_of_missing_values": "0"}
        for i, name in enumerate([*columns, "class"])
    ]  # fmt: skip
    about = {"status": "active", "format": "ARFF", "url": base + "file", "description": "", "name": "tiny",
             "md5_checksum": hashlib.md5(arff).hexdigest()}  # fmt: skip
    pages["/info"] = json.dumps({"data_set_description": about}).encode()
    pages["/features"] = json.dumps({"data_features": {"feature": features}}).encode()
    quality = {"name": "NumberOfInstances", "value": "40.0"}
    pages["/qualities"] = json.dumps({"data_qualities": {"quality": [quality]}}).encode()
    pages["/file"] = arff
    for variable, path in (("_DATA_INFO", "info"), ("_DATA_FEATURES", "features"), ("_DATA_QUALITIES", "qualities")):
        monkeypatch.setattr(site + variable, base + path)
    monkeypatch.setattr(site + "time.sleep", lambda seconds: None)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield pages
    server.shutdown()
    server.server_close()


def test_the_real_client_fetches(openml):
    fetch("mnist")
    np.testing.assert_array_equal(load("mnist", "test").x[:, 0], arrays()["x_test"].astype(np.float32) / 255)


@pytest.mark.parametrize("page", ["/info", "/features", "/file"])
@pytest.mark.parametrize("spoil", ["html", "truncated"])
def test_the_real_client_meets_damaged_pages(folder, openml, page, spoil):
    openml[page] = b"<!DOCTYPE html><title>Maintenance</title>" if spoil == "html" else openml[page][:-500]
    with pytest.raises(ValueError, match="is damaged, or is no data at all") as caught:
        fetch("mnist")
    assert "\n" not in str(caught.value)
    assert not list(folder.iterdir())


def test_the_real_client_is_offline(folder, openml, monkeypatch):
    monkeypatch.setattr("sklearn.datasets._openml._DATA_INFO", "http://127.0.0.1:9/nothing")
    with pytest.raises(ConnectionError, match=r"could not download MNIST.*check the network"):
        fetch("mnist")
    assert not list(folder.iterdir())

"""MNIST, Fashion-MNIST and CIFAR-10, from npz files in a folder."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from course_lib.data.datasets import SPLITS, Dataset
from course_lib.names import check_name

__all__ = ["cifar10", "data_folder", "fashion_mnist", "mnist"]


@dataclass(frozen=True)
class Images:
    """What is known about one set. Shapes are those in the file."""

    title: str
    openml_id: int
    shape: tuple[int, ...]
    counts: tuple[tuple[int, ...], tuple[int, ...]]  # images of each class: training, test
    class_names: tuple[str, ...]
    description: str
    source: str
    licence: str
    sha256: tuple[tuple[str, str], ...] = ()  # of the arrays, where a trusted copy is known


IMAGES = {
    "mnist": Images(
        title="MNIST",
        openml_id=554,
        shape=(28, 28),
        counts=(
            (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
            (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        ),
        class_names=tuple("0123456789"),
        description="MNIST: handwritten digits, 28×28 grey pixels, 60,000 to train and 10,000 to test.",
        source="LeCun, Bottou, Bengio & Haffner 1998, https://doi.org/10.1109/5.726791; OpenML 554",
        licence="CC BY-SA 3.0",
        # Of the original files' order, which Keras's mnist.npz and OpenML's mnist_784 keep.
        sha256=(
            ("x_train", "157fe16da1dbced4a1376f4be5df2d665d51d11177dcaf7aa4848b1ff033343f"),
            ("y_train", "e6a049a9876d2010dddfc2322bb8cad03f5934de9a0b5012c7251eca5b5a7201"),
            ("x_test", "fbf9701b11f5659e6366884b0bbf01ea129fb049e3239251eddb226ada72239e"),
            ("y_test", "6a90c4ebf8538b9b76438e5dddb0f5afc42d636e8e259d894485f9314cdad47d"),
        ),
    ),
    "fashion_mnist": Images(
        title="Fashion-MNIST",
        openml_id=40996,
        shape=(28, 28),
        counts=((6000,) * 10, (1000,) * 10),
        class_names=(
            "T-shirt",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "boot",
        ),
        description="Fashion-MNIST: articles of clothing, 28×28 grey pixels, 60,000 to train and 10,000 to test.",
        source="Xiao, Rasul & Vollgraf 2017, https://arxiv.org/abs/1708.07747; OpenML 40996",
        licence="MIT",
    ),
    "cifar10": Images(
        title="CIFAR-10",
        openml_id=40927,
        shape=(32, 32, 3),
        counts=((5000,) * 10, (1000,) * 10),
        class_names=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        description="CIFAR-10: photographs of ten kinds, 32×32 colour pixels, 50,000 to train and 10,000 to test.",
        source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; OpenML 40927",
        licence="none stated; for research",
    ),
}


def data_folder() -> Path:
    """Return the folder of the image files: COURSE_DATA, else `course` in the user's cache folder."""
    if named := os.environ.get("COURSE_DATA"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "course"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "course"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "course"


def mnist(split: str = "all", folder: str | Path | None = None) -> Dataset:
    """MNIST from mnist.npz: x (N, 1, 28, 28) in [0, 1]. "all" is the 60,000, then the 10,000.

    Raises: FileNotFoundError when the file is not there; ValueError when it is damaged or of another form.
    """
    return _load("mnist", split, folder)


def fashion_mnist(split: str = "all", folder: str | Path | None = None) -> Dataset:
    """Fashion-MNIST from fashion_mnist.npz: x (N, 1, 28, 28) in [0, 1]; otherwise as `mnist`."""
    return _load("fashion_mnist", split, folder)


def cifar10(split: str = "all", folder: str | Path | None = None) -> Dataset:
    """CIFAR-10 from cifar10.npz: x (N, 3, 32, 32) in [0, 1]; otherwise as `mnist`."""
    return _load("cifar10", split, folder)


def sha256_of(array: np.ndarray) -> str:
    """SHA-256 of type, shape and values: the same for every way of compressing them."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def pin_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def pins_of(path: Path) -> dict[str, str]:
    """Return the checksums written when the file was fetched, by array; none for a file from elsewhere."""
    try:
        lines = pin_file(path).read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = [line.split() for line in lines]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{pin_file(path)} is damaged: it must hold a checksum and a name on each line. Delete it")
    return {key: value for value, key in pairs}


def read(path: Path, images: Images, parts: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the arrays of some parts of a file, checked."""
    name = path.stem
    again = f"get it anew with `course data fetch {name} --force`, or replace the file"
    if not path.is_file():
        named = os.environ.get("COURSE_DATA")
        where = f"COURSE_DATA names {named}" if named else "COURSE_DATA is not set"
        lacks = "the folder has no such file" if path.parent.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"{images.title} is not on this machine: looked for {path} ({where}; {lacks}). Run `course data fetch "
            f"{name}`, or set COURSE_DATA to a folder that holds {path.name}"
        )
    arrays = {}
    try:
        with open(path, "rb") as opened, np.load(opened) as file:
            for key in (f"{kind}_{part}" for part in parts for kind in "xy"):
                if key not in file:
                    raise ValueError(f"{path} has no array {key} (it has: {', '.join(file)}): {again}")
                arrays[key] = file[key]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}): {again}") from error
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} is truncated or damaged, or no npz file ({error}): {again}") from error
    pins = pins_of(path)
    for part in parts:
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dtype != np.uint8 or x.shape[1:] != images.shape or len(x) == 0:
            raise ValueError(
                f"{path}: x_{part} must be uint8 of shape (N, {', '.join(map(str, images.shape))}), got "
                f"{x.dtype} of {x.shape}: {again}"
            )
        if y.dtype.kind not in "iu" or y.shape not in ((len(x),), (len(x), 1)):
            raise ValueError(
                f"{path}: y_{part} must hold a whole number for each of {len(x)} images, got {y.dtype} of "
                f"{y.shape}: {again}"
            )
        for key in (f"x_{part}", f"y_{part}"):
            if pins and pins.get(key) != sha256_of(arrays[key]):
                raise ValueError(
                    f"{path}: {key} has another checksum than when it was fetched: {again}; if the change is "
                    f"meant, delete {pin_file(path).name}"
                )
    return arrays


def _load(name: str, split: str, folder: str | Path | None) -> Dataset:
    check_name(f"split of {name}", split, SPLITS)
    images = IMAGES[name]
    parts = SPLITS[1:] if split == "all" else (split,)
    path = (data_folder() if folder is None else Path(folder).expanduser()) / f"{name}.npz"
    arrays = read(path, images, parts)
    x = torch.cat([torch.from_numpy(arrays[f"x_{part}"]) for part in parts])
    y = np.concatenate([arrays[f"y_{part}"].reshape(-1) for part in parts]).astype(np.int64)
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
    return Dataset(
        x=x.to(torch.float32, memory_format=torch.contiguous_format).div_(255),
        y=torch.from_numpy(y),
        name=name,
        class_names=images.class_names,
        description=images.description,
        source=images.source,
        licence=images.licence,
    )

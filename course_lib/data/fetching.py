"""Fetching MNIST, Fashion-MNIST and CIFAR-10 from OpenML into the data folder, only when asked."""

from __future__ import annotations

import gzip
import http.client
import io
import os
import tempfile
import urllib.error
import warnings
import zlib
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml

from course_lib.data.datasets import SPLITS
from course_lib.data.files import IMAGES, Images, data_folder, pin_file, pins_of, read, sha256_of
from course_lib.names import check_name

__all__ = ["fetch"]


def fetch(name: str, folder: str | Path | None = None, force: bool = False) -> Path:
    """Download a set from OpenML into the folder and return the path of its file.

    A file that is there and sound is kept, and nothing is downloaded. The new file takes its place only
    when whole and checked: number of images of each class in each part, and SHA-256 of every array. For MNIST
    that is compared with the value known beforehand. For the others no trusted value is known: the first
    download is checked by OpenML's own MD5 and the counts, its SHA-256 is written beside it
    (`cifar10.npz.sha256`), and each later load or download is compared with that.
    force: download although the file is there.   folder: default is `data_folder()`.
    CIFAR-10's 184 million values pass through memory as float32.
    Raises: ValueError for an unknown name or damaged download; ConnectionError when offline; OSError when the
        folder cannot be written. Whatever was there before stays.
    """
    check_name("image set", name, tuple(IMAGES))
    images = IMAGES[name]
    folder = data_folder() if folder is None else Path(folder).expanduser()
    path = folder / f"{name}.npz"
    if path.exists() and not force:
        read(path, images, SPLITS[1:])
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as scratch:
            arrays = _download(images, scratch)
            pinned = dict(images.sha256) or pins_of(path)
            hashes = {key: sha256_of(array) for key, array in arrays.items()}
            for key, value in pinned.items():
                if hashes[key] != value:
                    raise ValueError(
                        f"the download of {images.title} has the wrong checksum for {key}: SHA-256 is "
                        f"{hashes[key]}, known is {value}. Nothing was kept; try again later"
                    )
            lines = "".join(f"{value}  {key}\n" for key, value in hashes.items())
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)
            _replace(Path(scratch) / "arrays", buffer.getbuffer(), path)
            _replace(Path(scratch) / "sha256", lines.encode(), pin_file(path))
    except (ValueError, ConnectionError):
        raise
    except OSError as error:
        raise OSError(
            f"cannot write to the data folder {folder} ({error}): set COURSE_DATA to a folder that you can "
            "write to, with enough space"
        ) from error
    return path


def _download(images: Images, scratch: str) -> dict[str, np.ndarray]:
    """Fetch from OpenML and return the four arrays, checked. Every failure becomes one clear line."""
    offline = (
        f"could not download {images.title} from openml.org ({{}}): check the network connection and try again. "
        "Nothing was changed"
    )
    damaged = (
        f"the download of {images.title} from openml.org is damaged, or is no data at all ({{}}). Nothing was "
        "kept; try again later"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client warns at each retry; the error below says it once
            bunch = fetch_openml(
                data_id=images.openml_id,
                as_frame=False,
                data_home=scratch,
                # Labels as numbers, not categories: scikit-learn 1.9 fails on those under pandas 3.1.
                # float32 holds 0 … 255 exactly, whether written as 7 or as 7.0.
                parser="pandas",
                read_csv_kwargs={"dtype": np.float32},
            )
        values, y = np.asarray(bunch.data), np.asarray(bunch.target).astype(np.int64)
        with np.errstate(invalid="ignore"):
            x = values.astype(np.uint8)
        if not (x == values).all():
            raise ValueError("pixels are not whole numbers in 0 … 255")
        if images.shape[-1] == 3:  # stored as one plane for each colour
            x = x.reshape(-1, 3, *images.shape[:2]).transpose(0, 2, 3, 1)
        cut = sum(images.counts[0])
        x = np.ascontiguousarray(x.reshape(-1, *images.shape))
        y = y.astype(np.uint8)
        arrays = {"x_train": x[:cut], "y_train": y[:cut], "x_test": x[cut:], "y_test": y[cut:]}
        for part, counts in zip(SPLITS[1:], images.counts, strict=True):
            found = tuple(np.bincount(arrays[f"y_{part}"], minlength=10).tolist())
            if found != counts or len(arrays[f"x_{part}"]) != sum(counts):
                raise ValueError(f"images of each class in the {part} part are {found}, not {counts}")
    except urllib.error.HTTPError as error:
        raise ConnectionError(offline.format(f"the server answers {error.code} {error.reason}")) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise ConnectionError(offline.format(getattr(error, "reason", error))) from error
    except (ValueError, TypeError, LookupError, AttributeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(damaged.format(str(error).split("\n")[0] or type(error).__name__)) from error
    except http.client.HTTPException as error:
        raise ValueError(damaged.format(f"it broke off: {error!r}")) from error
    return arrays


def _replace(temporary: Path, content: bytes | memoryview, path: Path) -> None:
    """Write to a temporary file of the same file system, flush it to the disk, then put it in place."""
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)

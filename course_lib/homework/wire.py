"""Plain values between processes: one frame a message, JSON for the structure and raw bytes for the numbers.

    frame = b"HW01" · length of the head (4 bytes) · length of the body (8 bytes) · head · body

The head is a JSON object. A value in it is None, a bool, an int, a float or a string as it is; all else is
an object with one key: {"l": items}, {"t": items}, {"d": [[name, value], …]}, {"c": [re, im]},
{"a": [kind, dtype, shape, start]} with kind "torch" or "numpy" and the numbers in the body from byte
`start`, in the machine's order. Nothing is ever unpickled.

`read` and `check` believe nothing: lengths, depth, counts, dtypes and shapes are held to limits before any
number is touched. They need neither numpy nor torch, so the process that reads what a student's code wrote
stays small.
"""

import json
import math
import os
import select
import struct
import time

__all__ = ["MAX_BODY", "MAX_HEAD", "Closed", "Malformed", "NotPlain", "check", "decode", "encode", "pack", "read"]
__all__ += ["send"]

MAGIC = b"HW01"
LENGTHS = struct.Struct(">4sIQ")
MAX_HEAD = 2 << 20  # bytes
MAX_BODY = 32 << 20
MAX_ITEMS = 100_000
MAX_DEPTH = 20
MAX_TEXT = 1 << 20
SIZES = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8}
SIZES |= {"float16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16}


class Malformed(Exception):
    """The bytes are no frame, or a frame that breaks a limit."""


class Closed(Exception):
    """The other side has gone."""


class NotPlain(Exception):
    """A value that cannot be sent: the message says where it is and what it is."""


def pack(message: dict, body: bytes = b"") -> bytes:
    """A frame."""
    head = json.dumps(message, separators=(",", ":")).encode("utf-8", "replace")
    return LENGTHS.pack(MAGIC, len(head), len(body)) + head + body


def send(file: int, message: dict, body: bytes = b"") -> None:
    """Write a frame to a file descriptor that blocks."""
    frame = memoryview(pack(message, body))
    while frame:
        frame = frame[os.write(file, frame) :]


def read(file: int, deadline: float, idle=None, wake: list[int] = ()) -> tuple[dict, bytes]:
    """The next frame from a file descriptor.

    deadline: of time.monotonic().   idle: called at least every 0.1 s, and when a file in `wake` can be read.
    Raises: TimeoutError, Closed, Malformed.
    """
    waiting = deadline, idle, wake
    magic, head_length, body_length = LENGTHS.unpack(_exactly(file, LENGTHS.size, *waiting))
    if magic != MAGIC:
        raise Malformed("not a frame")
    if head_length > MAX_HEAD or body_length > MAX_BODY:
        raise Malformed(f"a frame of {head_length} + {body_length} bytes, at most {MAX_HEAD} + {MAX_BODY} are read")
    head = _exactly(file, head_length, *waiting)
    body = _exactly(file, body_length, *waiting)
    if head.count(b",") > 4 * MAX_ITEMS or head.count(b"[") + head.count(b"{") > 2 * MAX_ITEMS:
        raise Malformed("too many items")
    try:
        message = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise Malformed("the head is not JSON") from error
    if type(message) is not dict:
        raise Malformed("the head is no object")
    return message, body


def _exactly(file, count, deadline, idle, wake):
    parts = []
    while count:
        wait = deadline - time.monotonic()
        if wait <= 0:
            raise TimeoutError
        poll = select.poll()  # select() takes no file numbers above 1,023
        for each in (file, *wake):
            poll.register(each, select.POLLIN)
        ready = dict(poll.poll(1000 * min(wait, 0.1)))
        if idle is not None:
            idle()
        if file not in ready:
            continue
        try:
            part = os.read(file, min(count, 1 << 20))
        except BlockingIOError:  # another process has read it: whoever holds a pipe's end can open the other
            continue
        if not part:
            raise Closed
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def check(tree, body: bytes) -> None:
    """Hold an encoded value to the limits.   Raises: Malformed."""
    left = [MAX_ITEMS, MAX_TEXT, len(body)]

    def visit(node, depth):
        left[0] -= 1
        if depth > MAX_DEPTH or left[0] < 0:
            raise Malformed("nested too deeply, or too many items")
        if node is None or type(node) in (bool, float):
            return
        if type(node) is int:
            if not -(2**63) <= node < 2**63:
                raise Malformed("a whole number beyond 64 bits")
        elif type(node) is str:
            left[1] -= len(node)
            if left[1] < 0:
                raise Malformed("too much text")
        elif type(node) is dict and len(node) == 1:
            ((kind, content),) = node.items()
            if type(content) is not list:
                raise Malformed(f"{kind!r} without a list")
            visit_content(kind, content, depth)
        else:
            raise Malformed("a value of no known form")

    def visit_content(kind, content, depth):
        if kind in ("l", "t"):
            for item in content:
                visit(item, depth + 1)
        elif kind == "d":
            seen = set()
            for pair in content:
                if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str or pair[0] in seen:
                    raise Malformed("a dict whose names are no different texts")
                seen.add(pair[0])
                visit(pair[0], depth + 1)
                visit(pair[1], depth + 1)
        elif kind == "c":
            if [type(part) for part in content] != [float, float]:
                raise Malformed("a complex number of other than two numbers")
        elif kind == "a":
            left[2] -= _check_array(content, len(body))
            if left[2] < 0:
                raise Malformed("arrays that overlap")
        else:
            raise Malformed(f"a value of the unknown kind {kind[:20]!r}")

    visit(tree, 0)
    if len(json.dumps(tree, separators=(",", ":"))) > MAX_HEAD - 1_000:  # it must fit when it is sent on
        raise Malformed("too much text")


def _check_array(content, available):
    if len(content) != 4:
        raise Malformed("an array that is not described")
    kind, dtype, shape, start = content
    if kind not in ("torch", "numpy") or type(dtype) is not str or dtype not in SIZES:
        raise Malformed("an array of an unknown kind or dtype")
    if type(shape) is not list or len(shape) > 8 or any(type(n) is not int or n < 0 for n in shape):
        raise Malformed("an array of an impossible shape")
    if math.prod(n or 1 for n in shape) > MAX_BODY:  # an empty array can claim any other lengths
        raise Malformed("an array of an impossible shape")
    size = math.prod(shape) * SIZES[dtype]
    if type(start) is not int or start < 0 or start + size > available:
        raise Malformed("an array that does not lie in the body")
    return size


def encode(value) -> tuple[object, bytes]:
    """A plain value as (tree, body).   Raises: NotPlain."""
    body = bytearray()
    tree = _encode(value, body, "the value", 0)
    return tree, bytes(body)


def _encode(value, body, where, depth):
    kind = type(value)
    if value is None or kind in (bool, float, str):
        return value
    if depth > MAX_DEPTH:
        raise NotPlain(f"{where} is nested too deeply")
    if kind is int:
        if not -(2**63) <= value < 2**63:
            raise NotPlain(f"{where} is a whole number beyond 64 bits")
        return value
    if isinstance(value, dict | list | tuple) and len(value) > MAX_ITEMS:
        raise NotPlain(f"{where} has {len(value):,} items, at most {MAX_ITEMS:,} are sent")
    if kind is complex:
        return {"c": [value.real, value.imag]}
    if kind is dict:
        for name in value:
            if type(name) is not str:
                raise NotPlain(f"{where} is a dict with a key that is no text, but {type(name).__name__}")
        return {"d": [[n, _encode(v, body, f"{where}[{n!r}]"[:200], depth + 1)] for n, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(v, body, f"item {i} of {where}"[:200], depth + 1) for i, v in enumerate(value)]
        return {"t" if isinstance(value, tuple) else "l": items}
    return _encode_array(value, body, where, depth)


def _encode_array(value, body, where, depth):
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        known = str(value.dtype).removeprefix("torch.") in SIZES
        if not known or value.layout != torch.strided or value.device.type == "meta":
            raise NotPlain(f"{where} is a tensor of {value.dtype}, {value.layout}, on {value.device}")
        kind, array = "torch", value.detach().cpu().contiguous().resolve_conj().resolve_neg().numpy()
    elif isinstance(value, np.str_):
        return value.item()
    elif isinstance(value, np.ndarray | np.generic):
        kind, array = "numpy", np.ascontiguousarray(value).reshape(np.shape(value))
        if array.dtype.name not in SIZES or not array.dtype.isnative:
            raise NotPlain(f"{where} is an array of {array.dtype}")
    elif type(value).__name__ in ("DataFrame", "Series") and type(value).__module__.startswith("pandas"):
        plain = value.to_dict("list") if type(value).__name__ == "DataFrame" else value.to_list()
        return _encode(plain, body, where, depth + 1)
    elif isinstance(value, dict):  # an OrderedDict such as a state_dict
        return _encode(dict(value), body, where, depth)
    else:
        raise NotPlain(
            f"{where} is of the type {type(value).__name__}, not a number, text, list, dict, array or tensor"
        )
    body += b"\0" * (-len(body) % 16)
    start = len(body)
    if start + array.nbytes > MAX_BODY:
        raise NotPlain(f"{where} makes the answer larger than {MAX_BODY >> 20} MB")
    body += array.tobytes()
    return {"a": [kind, array.dtype.name, list(array.shape), start]}


def decode(tree, body: bytes):
    """The value that `encode` gave as a tree and a body. For a tree from outside, `check` comes first."""
    if type(tree) is not dict:
        return tree
    ((kind, content),) = tree.items()
    if kind in ("l", "t"):
        items = [decode(item, body) for item in content]
        return tuple(items) if kind == "t" else items
    if kind == "d":
        return {name: decode(value, body) for name, value in content}
    if kind == "c":
        return complex(*content)
    import numpy as np

    kind, dtype, shape, start = content
    count = math.prod(shape)
    array = np.frombuffer(body, dtype="uint8" if dtype == "bool" else dtype, count=count, offset=start) if count else []
    array = np.array(array, dtype=dtype).reshape(shape)  # a bool is made from any byte that may have come
    if kind == "numpy":
        return array if shape else array[()]
    import torch

    return torch.from_numpy(array)

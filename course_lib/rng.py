"""Random generators, each made on purpose from a seed and a name.

No function of this library draws from a global generator. A seed and the names of a stream give a
generator; other names give an independent one, so a change in one place of an experiment (one more draw
of weights, say) leaves every other stream as it was.
"""

import hashlib

import numpy as np
import torch

__all__ = ["check_generator", "fork_global", "generator", "numpy_generator", "seed_of"]


def seed_of(seed: int, *stream: str | int) -> int:
    """Return the 63-bit seed of one stream: SHA-256 of the seed and the stream's names.

    Equal arguments give equal seeds on every machine; different ones collide with probability 2⁻⁶³.
    Raises: TypeError if seed is no integer; ValueError if it is negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"a seed must be an integer, got {seed!r}: pass seed=0, 1, 2, …")
    if seed < 0:
        raise ValueError(f"a seed must be at least 0, got {seed}")
    text = "\x1f".join([str(int(seed)), *(f"{type(name).__name__}:{name}" for name in stream)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *stream: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator for one stream of random numbers.

    `generator(0, "weights")` and `generator(0, "batches")` are independent and reproducible.
    Draws on a CUDA device need a generator on that device, and differ from those on the CPU.
    """
    return torch.Generator(device=device).manual_seed(seed_of(seed, *stream))


def numpy_generator(seed: int, *stream: str | int) -> np.random.Generator:
    """Return a NumPy generator for one stream, for code that draws with NumPy or SciPy."""
    return np.random.default_rng(seed_of(seed, *stream))


def check_generator(thing: object) -> None:
    """Raise TypeError if this is no torch.Generator, as when a seed is given in place of one."""
    if not isinstance(thing, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {thing!r}: pass course_lib.rng.generator(seed)")


class fork_global:
    """Context in which torch's global generators are seeded from `generator`, and put back after it.

    For code that can only draw from the global generator, such as `torch.nn.Linear`'s constructor and
    `torch.nn.Dropout`. What is drawn inside depends on `generator` alone, and nothing leaks out.
    seed: the number drawn from the generator, on [0, 2⁶²).
    Raises: TypeError if generator is none.
    """

    def __init__(self, generator: torch.Generator):
        check_generator(generator)
        self.seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))

    def __enter__(self):
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        torch.default_generator.manual_seed(self.seed)
        for index in range(len(self._cuda)):
            torch.cuda.default_generators[index].manual_seed(self.seed)
        return self

    def __exit__(self, *exc):
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)

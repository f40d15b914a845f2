import pytest
import torch

from course_lib.rng import fork_global, generator, numpy_generator, seed_of


def test_streams_are_reproducible_and_differ():
    a, b = generator(0, "weights"), generator(0, "weights")
    assert torch.equal(torch.randn(5, generator=a), torch.randn(5, generator=b))
    seeds = {seed_of(s, *names) for s in range(50) for names in ((), ("a",), ("b",), ("a", "b"), (1,), ("1",))}
    assert len(seeds) == 300  # catches: a name left out, 1 and "1" taken as one
    assert seed_of(0, "a", "b") != seed_of(0, "astr:b")  # catches: names joined without a separator


def test_numpy_generator_is_reproducible():
    assert numpy_generator(3, "x").integers(1e9) == numpy_generator(3, "x").integers(1e9)


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError), ("1", TypeError)])
def test_bad_seeds(seed, error):
    with pytest.raises(error, match="seed"):
        seed_of(seed)


def test_fork_global_leaks_nothing_and_depends_on_the_generator_alone():
    # catches: forgetting to put the global state back; seeding it from the clock
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with fork_global(generator(0)):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with fork_global(generator(0)):
        assert torch.equal(torch.rand(3), first)
    with fork_global(generator(1)):
        assert not torch.equal(torch.rand(3), first)


def test_fork_global_puts_back_after_an_error():
    def draw_and_fail():
        with fork_global(generator(0)):
            torch.rand(1)
            raise ZeroDivisionError

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        draw_and_fail()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [None, 3, numpy_generator(0)])
def test_what_is_no_generator_is_refused_with_the_remedy(wrong):
    with pytest.raises(TypeError, match=r"torch.Generator, got .*rng.generator\(seed\)"):
        fork_global(wrong)

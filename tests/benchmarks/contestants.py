"""What the library is measured against: the same training written out in PyTorch, in JAX and for Lightning."""

import logging
import time
import warnings

import torch
import torch.nn.functional as F

__all__ = ["flops_per_step", "jax_stack", "lightning_seconds", "peak_flops", "plain_seconds"]


def plain_seconds(model, make_optimizer, x, y, batch_size, steps, threads):
    """Return the seconds of `steps` steps of the loop that everybody writes, at this number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        optimizer = make_optimizer(model.parameters())
        order = [b for _ in range(-(-steps * batch_size // len(x))) for b in torch.randperm(len(x)).split(batch_size)]
        losses = []
        start = time.perf_counter()
        for batch in order[:steps]:
            loss = F.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        float(losses[-1])  # a GPU has to be waited for
        return time.perf_counter() - start
    finally:
        torch.set_num_threads(before)


def jax_stack(kind, sizes, runs, batch_size, rule):
    """Return run(steps) → seconds of a stack of runs in JAX: scan over steps, vmap over runs, one jit.

    kind: "dense" or "conv" (MNIST-1D's).   rule: "adam" or "sgd".   The first call compiles.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(0)
    n, features = 40 * batch_size, 64 if kind == "dense" else 40
    x = jnp.asarray(rng.standard_normal((n, features)), jnp.float32)
    y = jnp.asarray(rng.integers(0, 10, n))

    def weights():
        return [
            (jnp.asarray(rng.standard_normal(shape) * 0.1, jnp.float32), jnp.zeros(shape[-1], jnp.float32))
            for shape in sizes
        ]

    def forward(params, x):
        if kind == "dense":
            for w, b in params[:-1]:
                x = jax.nn.relu(x @ w + b)
        else:
            x = x[:, :, None]
            for w, b in params[:-1]:
                dims = jax.lax.conv_dimension_numbers(x.shape, w.shape, ("NWC", "WIO", "NWC"))
                x = jax.nn.relu(jax.lax.conv_general_dilated(x, w, (2,), [(1, 1)], dimension_numbers=dims) + b)
            x = x.reshape(len(x), -1)
        w, b = params[-1]
        return x @ w + b

    def loss(params, x, y):
        return -jnp.take_along_axis(jax.nn.log_softmax(forward(params, x)), y[:, None], 1).mean()

    def step(carry, index, lr):
        params, m, v, t = carry
        value, g = jax.value_and_grad(loss)(params, x[index], y[index])
        if rule == "sgd":
            params = jax.tree.map(lambda w, g: w - lr * g, params, g)
        else:
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            c, d = 1 - 0.9**t, 1 - 0.999**t
            params = jax.tree.map(lambda w, m, v: w - lr * (m / c) / (jnp.sqrt(v / d) + 1e-8), params, m, v)
        return (params, m, v, t + 1), value

    @jax.jit
    def train(params, indices, lr):
        zeros = jax.tree.map(jnp.zeros_like, params)
        carry = (params, zeros, zeros, jnp.ones(runs))
        return jax.lax.scan(lambda c, i: jax.vmap(step)(c, i, lr), carry, indices)

    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[weights() for _ in range(runs)])

    def run(steps):
        indices = jnp.asarray(rng.integers(0, n, (steps, runs, batch_size)))
        start = time.perf_counter()
        jax.block_until_ready(train(params, indices, jnp.full(runs, 1e-3)))
        return time.perf_counter() - start

    return run


def lightning_seconds(model, make_optimizer, x, y, batch_size, epochs):
    """Return the seconds of `epochs` epochs of Lightning's Trainer, with everything off that can be."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def training_step(self, batch, _):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return make_optimizer(self.model.parameters())

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, barebones=False,
        )  # fmt: skip
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size, shuffle=True)
        start = time.perf_counter()
        trainer.fit(Module(), loader)
        return time.perf_counter() - start


def peak_flops(device, n=2048):
    """Return floating-point operations a second of a large float32 matrix product, the best of ten."""
    a = torch.randn(n, n, device=device)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def flops_per_step(model, x):
    """Return the floating-point operations of one step on this batch: forward, and both products backward."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(x), torch.zeros(len(x), dtype=torch.int64, device=x.device)).backward()
    return counter.get_total_flops()

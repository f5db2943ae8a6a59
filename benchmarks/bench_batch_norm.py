"""Batch normalisation: `batch_norm` against torch's, and the readable formula with and without torch.compile, float32.

One process, one thread, forward and backward: gradients of x, weight and bias for a fixed grad_output. Every rival is
interleaved with torch in a pair of its own: the many tensors of the plain formula make the allocator hand memory back
to the system, and whoever comes next in the round would pay for the page faults.
"""

import pandas as pd
import torch
from torch.nn import functional

from workedpapers.batch_norm import batch_norm
from workedpapers.lab.timing import interleaved, saved_bytes

SHAPES = [(32, 64, 32, 32), (64, 128, 16, 16), (64, 16, 64, 64)]
READS_AND_WRITES = 8  # of a tensor like x: forward x, x → y; backward grad_output, x, grad_output, x → grad_x


def torch_batch_norm(x, weight, bias):
    return functional.batch_norm(x, None, None, weight, bias, training=True)


def formula(x, weight, bias):
    mean = x.mean((0, 2, 3), keepdim=True)
    centered = x - mean
    var = centered.square().mean((0, 2, 3), keepdim=True)
    standardized = centered / torch.sqrt(var + 1e-5)
    return standardized * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def bandwidth() -> float:
    """Bytes per ms that one thread moves when it copies a tensor larger than most caches."""
    source = torch.randn(2**26)
    target = torch.empty_like(source)
    copy = interleaved({"copy": lambda: target.copy_(source)}, 10)["copy"]
    return 2 * source.nbytes / copy.min_ms


def compare(shape: tuple[int, ...], bytes_per_ms: float, rivals: dict) -> pd.DataFrame:
    torch.manual_seed(0)
    x, grad_output = torch.randn(shape, requires_grad=True), torch.randn(shape)
    weight, bias = torch.rand(shape[1], requires_grad=True), torch.randn(shape[1], requires_grad=True)

    def step(function):
        return lambda: torch.autograd.grad(function(x, weight, bias), (x, weight, bias), grad_output)

    limit = READS_AND_WRITES * x.nbytes / bytes_per_ms
    rows = []
    for name, function in rivals.items():
        times = interleaved({"torch": step(torch_batch_norm), "rival": step(function)}, 40)["rival"]
        saved = saved_bytes(lambda function=function: function(x, weight, bias)) / 1e6
        rows.append((str(shape), name, times.median_ms, times.min_ms, 1 / times.ratio, times.min_ms / limit, saved))
    columns = ["shape", "", "median_ms", "min_ms", "time/torch", "min/limit", "saved_mb"]
    table = pd.DataFrame(rows, columns=columns).set_index(["shape", ""])
    print(table.round(3).to_string(header=shape == SHAPES[0]), flush=True)


def compiled():
    """The formula under torch.compile, or None where there is no compiler for it."""
    function = torch.compile(formula, dynamic=False)
    try:
        function(*(torch.ones(2, 2, 2, 2, requires_grad=True), torch.ones(2), torch.ones(2))).sum().backward()
    except Exception as error:
        print(f"torch.compile has no row: {type(error).__name__}: {str(error).splitlines()[0]}")
        return None
    return function


if __name__ == "__main__":
    print(__doc__)
    torch.set_num_threads(1)
    rivals = {"torch": torch_batch_norm, "batch_norm": batch_norm, "compiled formula": compiled(), "formula": formula}
    rivals = {name: function for name, function in rivals.items() if function is not None}
    bytes_per_ms = bandwidth()
    print(f"A copy moves {bytes_per_ms / 1e6:.1f} GB/s.\n")
    for shape in SHAPES:
        compare(shape, bytes_per_ms, rivals)

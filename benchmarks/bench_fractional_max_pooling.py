"""Fractional max-pooling: torch's layer, ours by draw, kind and overlap, the plain formula and MP2, float32.

One process, one thread, forward and backward: the gradient of x for a fixed grad_output. Each call draws its regions.
Every rival is interleaved with torch in a pair of its own, so that none pays for the memory of another.
"""

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from workedpapers.fractional_max_pooling import FractionalMaxPool2d, fractional_max_pool2d, pooling_regions
from workedpapers.lab.timing import interleaved, saved_bytes

LARGE = [(100, 32, 35, 25), (32, 64, 24, 17), (20, 32, 93, 74)]  # N, C, height and width before and after
SMALL = [(50, 24, 10, 7), (50, 30, 6, 4), (50, 36, 3, 2), (1, 24, 10, 7)]  # where calls cost more than numbers
ROUNDS = {**dict.fromkeys(LARGE, 40), **dict.fromkeys(SMALL, 400)}


def plain(x, rows, columns):
    """Squares by the formula: the larger of two rows, then of two columns, under autograd."""
    (up, _), (left, _) = rows, columns
    x = torch.maximum(x.index_select(-2, up), x.index_select(-2, up + 1))
    return torch.maximum(x.index_select(-1, left), x.index_select(-1, left + 1))


def compare(shape: tuple[int, ...]) -> pd.DataFrame:
    torch.manual_seed(0)
    *lead, n_in, n_out = shape
    x = torch.randn(*lead, n_in, n_in, requires_grad=True)
    rows, columns = pooling_regions(n_in, n_out), pooling_regions(n_in, n_out)
    torch.testing.assert_close(plain(x, rows, columns), fractional_max_pool2d(x, rows, columns), rtol=0, atol=0)
    torch_layer = nn.FractionalMaxPool2d(2, n_out)
    rivals = {
        "torch": torch_layer,
        **{f"squares, draw={draw}": FractionalMaxPool2d(n_out, draw=draw) for draw in ("batch", "image", "channel")},
        "random squares": FractionalMaxPool2d(n_out, kind="random"),
        "disjoint": FractionalMaxPool2d(n_out, overlap="disjoint"),
        "interval": FractionalMaxPool2d(n_out, overlap="interval"),
        "formula, one draw": lambda x: plain(x, pooling_regions(n_in, n_out), pooling_regions(n_in, n_out)),
        "max_pool2d(2)": lambda x: functional.max_pool2d(x, 2),
    }

    def step(function):
        grad_output = torch.randn_like(function(x))
        return lambda: torch.autograd.grad(function(x), x, grad_output)

    table = {}
    for name, function in rivals.items():
        timing = interleaved({"torch": step(torch_layer), name + " ": step(function)}, ROUNDS[shape])[name + " "]
        table["{}x{}, {} to {}".format(*shape), name] = {
            "median_ms": timing.median_ms,
            "min_ms": timing.min_ms,
            "time/torch": 1 / timing.ratio,
            "saved_mb": saved_bytes(lambda function=function: function(x)) / 1e6,
        }
    return pd.DataFrame.from_dict(table, orient="index")


if __name__ == "__main__":
    print(__doc__)
    torch.set_num_threads(1)
    print(pd.concat([compare(shape) for shape in ROUNDS]).round(3).to_string())
    print("\ntime/torch: median over the rounds. Goal for squares: at most 0.8, at 10 to 7 and below 1.0 and 1.2.")
    print("saved: kept for the backward pass. torch draws for each channel: draw=channel is like for like.")
    print("Without another word, ours are pseudorandom and drawn for each image.")
    print("max_pool2d(2) is a floor: it has fewer outputs. What differs from 1 in torch's own row is the noise.")

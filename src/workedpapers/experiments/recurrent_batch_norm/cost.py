"""Time and memory of the layer, beside the loop that every port writes and torch's LSTM."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Experiment
from workedpapers.lab.timing import interleaved, saved_bytes
from workedpapers.recurrent_batch_norm import BatchNormLSTM


@dataclass(frozen=True)
class Timed:
    """A shape at which one forward and backward pass in training is timed, float32, one thread.

    Args:
        time, batch, inputs, units: of the layer.
        repeats: of each, interleaved.
    """

    time: int
    batch: int
    inputs: int
    units: int
    repeats: int = 15


def measure(config: Timed, seed: int, device: torch.device) -> dict[str, object]:
    """Ours, the stepwise loop with three `F.batch_norm` a step and running statistics, and torch's LSTM without norms.

    Returns: `time_ratio`, `lstm_ratio`: medians of ours over the loop's and over torch's; `ours_seconds`,
        `stepwise_seconds`, `lstm_seconds`: medians; `ours_bytes`, `stepwise_bytes`, `lstm_bytes`: kept for the backward
        pass.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.randn(config.time, config.batch, config.inputs)
        slope = torch.randn(config.time, config.batch, config.units)
        layer = BatchNormLSTM(config.inputs, config.units, max_length=config.time)
        lstm = nn.LSTM(config.inputs, config.units)
        forward: dict[str, Callable[[], Tensor]] = {
            "ours": lambda: layer(x)[0],
            "stepwise": lambda: stepwise(layer, x),
            "lstm": lambda: lstm(x)[0],
        }

        def step(name: str) -> Callable[[], tuple[Tensor, ...]]:
            parameters = list((lstm if name == "lstm" else layer).parameters())
            return lambda: torch.autograd.grad(forward[name](), parameters, slope)

        timings = interleaved({name: step(name) for name in forward}, config.repeats)
        found: dict[str, object] = {"time_ratio": timings["stepwise"].ratio, "lstm_ratio": timings["lstm"].ratio}
        for name, run in forward.items():
            found[f"{name}_seconds"] = timings[name].median_ms / 1e3
            found[f"{name}_bytes"] = saved_bytes(run)
        return found


def stepwise(layer: BatchNormLSTM, x: Tensor) -> Tensor:
    """Outputs of the layer in training, step by step through autograd; moves its running statistics."""
    scale_c, bias_c = layer.get_parameter("scale_c"), layer.get_parameter("bias_c")
    h = c = x.new_zeros(x.shape[1], layer.hidden_size)
    outputs = []
    buffers = dict(layer.named_buffers())

    def norm(z: Tensor, name: str, t: int, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        mean, var = (buffers[f"running_{kind}_{name}"][t] for kind in ("mean", "var"))
        return F.batch_norm(z, mean, var, weight, bias, training=True)

    for t, part in enumerate(x):
        hidden = norm(h @ layer.weight_hh.T, "hh", t, layer.scale_hh)
        inputs = norm(part @ layer.weight_ih.T, "ih", t, layer.scale_ih, layer.bias)
        i, f, g, o = (hidden + inputs).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(norm(c, "c", t, scale_c, bias_c))
        outputs.append(h)
    return torch.stack(outputs)


SHAPES = ((784, 100, 1, 100), (196, 100, 1, 100), (100, 64, 50, 128), (28, 100, 28, 100))
#: Time and memory, best on an idle machine.
COST = Experiment(
    "recurrent_batch_norm_cost",
    Timed,
    measure,
    {"check": [Timed(3, 4, 2, 3, repeats=2)], "book": [Timed(*shape) for shape in SHAPES]},
    {"check": range(1), "book": range(1)},
)

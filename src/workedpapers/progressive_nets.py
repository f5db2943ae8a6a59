"""Progressive networks: a column of layers for every task, old columns frozen, lateral connections into the new one.

Rusu et al. 2016, Progressive Neural Networks (arXiv 1606.04671); derived in `notebooks/progressive_nets`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = [
    "Features",
    "Lateral",
    "ProgressiveNetwork",
    "Sources",
    "average_fisher_sensitivity",
    "average_perturbation_sensitivity",
    "fisher_information",
    "transfer_score",
]

Lateral = Literal["linear", "adapter"]
Sources = Literal["previous", "same", "all", "mixture"]
Weighted = nn.Linear | nn.Conv2d
#: What is done to an activation on the way: layer, column, activation → activation.
Tap = Callable[[int, int, Tensor], Tensor]


@dataclass(frozen=True)
class Features:
    """Hidden activations of frozen columns: one tensor a hidden layer, columns side by side, examples first."""

    layers: tuple[Tensor, ...]

    def __getitem__(self, index: Tensor | slice | Sequence[int]) -> "Features":
        """Those of some examples."""
        return Features(tuple(layer[index] for layer in self.layers))


class ProgressiveNetwork(nn.Module):
    """Columns that learn one task after the other; only the newest is trained (Eqs. PNN.2 and PNN.8).

    Args:
        make_column: called with the number of columns so far; returns the hidden layers of the next, an
            `nn.Sequential` in which everything after a `Linear` or `Conv2d` up to the next one (activation, norm,
            pooling, flattening) is that layer's f. The output layer is added here.
        lateral: `linear`, Σ U h (Eq. PNN.2), or `adapter`, U σ(V [α h]) (Eq. PNN.8).
        sources: layers of earlier columns that a layer reads: the `previous` one (the paper), the `same` one, `all`
            hidden ones, or a learned `mixture` of them; the last three need columns of Linear layers.
        adapter_width: r, outputs of V; as many as the layer has if None.
        scale_init: initial α of an adapter.
        lateral_gain: factor on the initial U; with 0 a new column begins as a network of its own.
        gate: initial b of a gate σ(b) per unit on what arrives laterally; none if None.
    """

    def __init__(
        self,
        make_column: Callable[[int], nn.Sequential],
        *,
        lateral: Lateral = "linear",
        sources: Sources = "previous",
        adapter_width: int | None = None,
        scale_init: float = 0.1,
        lateral_gain: float = 1.0,
        gate: float | None = None,
    ) -> None:
        super().__init__()
        self.make_column, self.lateral, self.sources = make_column, lateral, sources
        self.adapter_width, self.scale_init, self.lateral_gain, self.gate = (
            adapter_width,
            scale_init,
            lateral_gain,
            gate,
        )
        self.tasks: list[str] = []
        self.columns = nn.ModuleList()

    def add_column(self, task: str, n_outputs: int) -> list[nn.Parameter]:
        """Freeze what there is and add a column for a task.

        Returns: the parameters of the new column, to be given to an optimiser.
        """
        self.freeze()
        self.columns.append(_Column(self, n_outputs))
        self.tasks.append(task)
        return list(self.columns[-1].parameters())

    def freeze(self) -> None:
        """Fix every column there is."""
        for column in self.columns:
            column.requires_grad_(False).eval()
            for parameter in column.parameters():
                parameter.grad = None

    def train(self, mode: bool = True) -> "ProgressiveNetwork":
        """Set the mode of the newest column; frozen ones always evaluate (BatchNorm, dropout)."""
        super().train(mode)
        for column in self.columns[:-1]:
            column.eval()
        return self

    def forward(self, x: Tensor, task: str, features: Features | None = None) -> Tensor:
        """Outputs for a task.

        Args: x: inputs, batch first. features: those of the earlier columns at x, if they are at hand.
        Returns: shape (batch, n_outputs of that task).
        """
        return self.run(x, task, features=features)[0]

    @torch.no_grad()
    def features(self, x: Tensor, task: str) -> Features:
        """Activations of the columns before that of a task, to be used again while it is trained."""
        k = self.tasks.index(task)
        hidden = self._columns(x, self.columns[:k])
        return Features(tuple(torch.cat(layer, 1) for layer in hidden))

    def run(
        self, x: Tensor, task: str, *, features: Features | None = None, tap: Tap | None = None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Outputs for a task and the hidden activations by layer and column."""
        k = self.tasks.index(task)
        column = self.columns[k]
        hidden: list[list[Tensor]] = [[layer] for layer in features.layers] if features and k else []
        if not hidden:
            hidden = self._columns(x, self.columns[:k], tap)
        own, output = column(x, [torch.cat(layer, 1) for layer in hidden], tap, k)
        return output, [before + [h] for before, h in zip(hidden or [[] for _ in own], own, strict=True)]

    def _columns(self, x: Tensor, columns: Iterable[nn.Module], tap: Tap | None = None) -> list[list[Tensor]]:
        hidden: list[list[Tensor]] = []
        for j, column in enumerate(columns):
            own, _ = column(x, [torch.cat(layer, 1) for layer in hidden], tap, j, head=False)
            hidden = [before + [h] for before, h in zip(hidden or [[] for _ in own], own, strict=True)]
        return hidden


class _Column(nn.Module):
    """The layers of one column, each of which reads its predecessor and the columns before."""

    def __init__(self, network: ProgressiveNetwork, n_outputs: int) -> None:
        super().__init__()
        k = len(network.columns)
        entry: list[nn.Module] = []
        groups: list[tuple[Weighted, list[nn.Module]]] = []
        for module in network.make_column(k):
            if isinstance(module, nn.Linear | nn.Conv2d):
                groups.append((module, []))
            else:
                (groups[-1][1] if groups else entry).append(module)
        last = groups[-1][0]
        head = nn.Linear(last.out_features, n_outputs) if isinstance(last, nn.Linear) else nn.LazyLinear(n_outputs)
        groups.append((head, []))
        self.entry = nn.Sequential(*entry)
        earlier = [column for column in network.columns]
        self.layers = nn.ModuleList()
        for i, (own, after) in enumerate(groups):
            sizes = None
            if i and earlier:
                sizes = _sizes(earlier, i, network.sources)
            self.layers.append(_Layer(own, after, sizes, i, network))

    def forward(
        self, x: Tensor, before: list[Tensor], tap: Tap | None, k: int, head: bool = True
    ) -> tuple[list[Tensor], Tensor]:
        h, own = self.entry(x), []
        for i, layer in enumerate(self.layers):
            if i == len(self.layers) - 1:
                return own, layer(h, before) if head else h
            h = layer(h, before)
            if tap is not None:
                h = tap(i, k, h)
            own.append(h)
        raise AssertionError


def _sizes(earlier: Sequence[nn.Module], i: int, sources: Sources) -> list[list[int]]:
    """By layer read, features of every earlier column as layer i + 1 gets them."""

    def size(column: nn.Module, layer: int) -> int:
        own = column.layers[layer + 1].own
        return own.in_features if isinstance(own, nn.Linear) else own.in_channels

    depth = len(earlier[0].layers) - 1
    return [[size(column, layer) for column in earlier] for layer in _read(i, depth, sources)]


def _read(i: int, depth: int, sources: Sources) -> list[int]:
    """Numbers of the hidden layers that layer i reads."""
    if sources == "previous":
        return [i - 1]
    if sources == "same":
        return [min(i, depth - 1)]
    return list(range(depth))


class _Layer(nn.Module):
    """f(W h + lateral)."""

    def __init__(self, own, after, sizes, i, network) -> None:
        super().__init__()
        self.own, self.after = own, nn.Sequential(*after)
        self.lateral = None
        if sizes is None:
            return
        self.i, self.sources = i, network.sources
        if network.sources == "mixture":
            self.mixture = nn.Parameter(torch.zeros(len(sizes)))
            counts = sizes[0]
        else:
            counts = [c for layer in sizes for c in layer]
        self.sizes = counts
        if network.lateral == "adapter":
            width = network.adapter_width or (own.out_features if isinstance(own, nn.Linear) else own.out_channels)
            self.scale = nn.Parameter(torch.full((len(counts),), network.scale_init))
            if isinstance(own, nn.Conv2d):
                self.project = nn.Conv2d(sum(counts), width, 1)
            else:
                self.project = nn.Linear(sum(counts), width)
            self.lateral = _like(own, width)
        else:
            self.lateral = _like(own, sum(counts))
            if not isinstance(own, nn.Conv2d):
                with torch.no_grad():
                    bound = torch.cat([torch.full((c,), 1 / math.sqrt(c)) for c in counts])
                    self.lateral.weight.uniform_(-1, 1).mul_(bound)
            else:
                with torch.no_grad():
                    self.lateral.weight.mul_(math.sqrt(len(counts)))
        with torch.no_grad():
            self.lateral.weight.mul_(network.lateral_gain)
        n = own.out_features if isinstance(own, nn.Linear) else own.out_channels
        self.gate = nn.Parameter(torch.full((n,), network.gate)) if network.gate is not None else None

    def forward(self, h, before):
        z = self.own(h)
        if self.lateral is not None:
            depth = len(before)
            read = [before[l] for l in _read(self.i, depth, self.sources)]
            if self.sources == "mixture":
                s = sum(m * r for m, r in zip(self.mixture.softmax(0), read))
            else:
                s = read[0] if len(read) == 1 else torch.cat(read, 1)
            shape = (-1, *[1] * (z.dim() - 2))
            if hasattr(self, "project"):
                alpha = self.scale.repeat_interleave(
                    torch.tensor(self.sizes, device=s.device), output_size=sum(self.sizes)
                )
                s = torch.relu(self.project(alpha.view(shape) * s))
            y = self.lateral(s)
            z = z + (y if self.gate is None else torch.sigmoid(self.gate).view(shape) * y)
        return self.after(z)


def _like(own, inputs):
    if isinstance(own, nn.Linear):
        return nn.Linear(inputs, own.out_features, bias=False)
    return nn.Conv2d(inputs, own.out_channels, own.kernel_size, own.stride, own.padding, own.dilation, bias=False)


def fisher_information(network, batches, task):
    """Diagonal of F̂ by layer and column: variance of a feature times the mean squared slope of log π."""
    k = network.tasks.index(task) + 1
    squares, first, second, count = None, None, None, 0
    network.eval()
    for x in batches:
        x = x.detach().clone().requires_grad_(True)
        output, hidden = network.run(x, task)
        flat = [h for layer in hidden for h in layer]
        logp = output.log_softmax(1)
        p = logp.exp().detach()
        slopes = [0.0] * len(flat)
        for a in range(output.shape[1]):
            grads = torch.autograd.grad(logp[:, a].sum(), flat, retain_graph=True, allow_unused=True)
            for n, (g, h) in enumerate(zip(grads, flat)):
                g = torch.zeros_like(h) if g is None else g
                g = g.flatten(2).sum(2) if g.dim() > 2 else g
                slopes[n] = slopes[n] + (p[:, a, None] * g**2).sum(0)
        pixels = [h.detach().flatten(2).movedim(1, 2).flatten(0, 1) if h.dim() > 2 else h.detach() for h in flat]
        sums = [s.mean(0) * len(x) for s in pixels]
        sq = [(s**2).mean(0) * len(x) for s in pixels]
        if squares is None:
            squares, first, second = slopes, sums, sq
        else:
            squares = [a + b for a, b in zip(squares, slopes)]
            first = [a + b for a, b in zip(first, sums)]
            second = [a + b for a, b in zip(second, sq)]
        count += len(x)
    out = [(s2 / count - (s1 / count) ** 2) * f / count for f, s1, s2 in zip(squares, first, second)]
    return [out[i : i + k] for i in range(0, len(out), k)]


def average_fisher_sensitivity(network, batches, task):
    """Share of every column in the sensitivity of each layer, shape (layers, columns)."""
    info = fisher_information(network, batches, task)
    totals = torch.stack([torch.stack([c.sum() for c in layer]) for layer in info])
    return totals / totals.sum(1, keepdim=True).clamp_min(torch.finfo(totals.dtype).tiny)


def transfer_score(curve, baseline, random=0.0):
    """Area under a curve over that of the baseline, both above a random policy's score, in per cent."""
    return 100 * (curve.mean(-1) - random) / (baseline.mean(-1) - random)


def average_perturbation_sensitivity(network, score, task, drop=0.5):
    raise NotImplementedError

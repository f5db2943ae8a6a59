"""The recurrent layers that are compared, behind one call."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers import batch_norm
from workedpapers.recurrent_batch_norm import BatchNormLSTM, population_statistics

#: "lstm": torch's; "batch": the paper's; "layer": layer norm of the sum of both terms; "layer_each": of either term, as
#: in Ba et al.; "joint": one batch norm of the sum; "input": batch norm of the input's term only.
KINDS = ("lstm", "batch", "layer", "layer_each", "joint", "input")
#: "torch": the weights of `torch.nn.LSTM` as it makes them; else see `BatchNormLSTM`.
HiddenInit = Literal["orthogonal", "identity", "torch"]
STARTS = {"lstm": ("orthogonal", "identity", "torch"), "batch": ("orthogonal", "identity")}  # the others: orthogonal
State = tuple[Tensor, Tensor]
Batches = Iterable[tuple[Any, ...]]  # arguments of a model


class StepwiseLSTM(nn.Module):
    """An LSTM with another normalisation, step by step through autograd; gates in torch's order i, f, g, o.

    Args:
        kind: "layer", "layer_each", "joint" or "input" of `KINDS`.
        input_size, hidden_size: as for `BatchNormLSTM`.
        max_length: steps that have batch statistics of their own.
        weight_init: of every scale γ.
        eps: under every root.
    Shape: input (time, batch, input_size), state two of (batch, hidden_size) → outputs (time, batch, hidden_size).
    Starting values are those of `BatchNormLSTM`.
    """

    def __init__(
        self, kind: str, input_size: int, hidden_size: int, *, max_length: int, weight_init: float, eps: float = 1e-5
    ) -> None:
        super().__init__()
        gates = 4 * hidden_size
        self.kind, self.hidden_size, self.eps = kind, hidden_size, eps
        self.weight_ih = nn.Parameter(nn.init.orthogonal_(torch.empty(gates, input_size)))
        self.weight_hh = nn.Parameter(nn.init.orthogonal_(torch.empty(gates, hidden_size)))
        self.bias = nn.Parameter(torch.zeros(gates))
        nn.init.ones_(self.bias.data[hidden_size : 2 * hidden_size])
        self.scale = nn.Parameter(torch.full((gates,), weight_init))
        self.scale_ih = nn.Parameter(torch.full((gates,), weight_init)) if kind == "layer_each" else None
        cell = kind != "input"
        self.scale_c = nn.Parameter(torch.full((hidden_size,), weight_init)) if cell else None
        self.bias_c = nn.Parameter(torch.zeros(hidden_size)) if cell else None
        self.norms, self.cell_norms = (
            nn.ModuleList(nn.BatchNorm1d(size, eps, affine=False) for _ in range(max_length if kind in kinds else 0))
            for size, kinds in ((gates, ("joint", "input")), (hidden_size, ("joint",)))
        )

    def forward(self, input: Tensor, state: State | None = None) -> Tensor:
        """Outputs of all steps."""
        h, c = state or 2 * [input.new_zeros(input.shape[1], self.hidden_size)]
        outputs = []
        for t, x in enumerate(F.linear(input, self.weight_ih).unbind()):
            i, f, g, o = (self._gates(t, x, F.linear(h, self.weight_hh)) + self.bias).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self._cell(t, c))
            outputs.append(h)
        return torch.stack(outputs)

    def _gates(self, t: int, x: Tensor, h: Tensor) -> Tensor:
        step = min(t, len(self.norms) - 1)
        if self.kind == "joint":
            scaled: Tensor = self.scale * self.norms[step](x + h)
            return scaled
        if self.kind == "input":
            scaled = self.scale * self.norms[step](x)
            return scaled + h
        if self.scale_ih is None:
            return self.scale * self._layer_norm(x + h)
        return self.scale * self._layer_norm(h) + self.scale_ih * self._layer_norm(x)

    def _cell(self, t: int, c: Tensor) -> Tensor:
        if self.scale_c is None or self.bias_c is None:
            return c
        normalized = self.cell_norms[min(t, len(self.norms) - 1)](c) if self.kind == "joint" else self._layer_norm(c)
        scaled: Tensor = self.scale_c * normalized + self.bias_c
        return scaled

    def _layer_norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps)


class Recurrent(nn.Module):
    """One of `KINDS` and a linear layer on its outputs.

    Args:
        kind: which.
        sizes: of inputs, hidden state and final outputs.
        max_length: steps with statistics of their own.
        weight_init, eps, normalize_cell, hidden_init: of `BatchNormLSTM`; the first two of all normalised layers, the
            last of "lstm" as well.
    Raises: ValueError: an unknown kind, or a start that it does not have.
    """

    def __init__(
        self,
        kind: str,
        sizes: tuple[int, int, int],
        *,
        max_length: int,
        weight_init: float = 0.1,
        eps: float = 1e-5,
        normalize_cell: bool = True,
        hidden_init: HiddenInit = "orthogonal",
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"model must be one of {', '.join(KINDS)}, got {kind!r}")
        if hidden_init not in (starts := STARTS.get(kind, ("orthogonal",))):
            raise ValueError(f"hidden_init of model {kind!r} must be one of {', '.join(starts)}, got {hidden_init!r}")
        inputs, hidden, outputs = sizes
        self.layer: nn.Module
        if kind == "lstm":
            self.layer = nn.LSTM(inputs, hidden)
            start_lstm(self.layer, hidden_init)
        elif kind == "batch" and hidden_init != "torch":
            self.layer = BatchNormLSTM(
                inputs,
                hidden,
                max_length=max_length,
                weight_init=weight_init,
                eps=eps,
                normalize_cell=normalize_cell,
                hidden_init=hidden_init,
            )
        else:
            self.layer = StepwiseLSTM(kind, inputs, hidden, max_length=max_length, weight_init=weight_init, eps=eps)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, input: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Tensor:
        """Outputs of the recurrent layer at all steps, (time, batch, hidden_size).

        Only the paper's layer needs `lengths`: the others treat every sequence alone.
        """
        if isinstance(self.layer, nn.LSTM):
            outputs: Tensor = self.layer(input, state and tuple(part.unsqueeze(0) for part in state))[0]
        elif isinstance(self.layer, BatchNormLSTM):
            outputs = self.layer(input, state, lengths)[0]
        else:
            outputs = self.layer(input, state)
        return outputs

    def settle(self, batches: Batches) -> None:
        """Go to evaluation, with exact statistics of these batches for a layer that has any."""
        if isinstance(self.layer, BatchNormLSTM):
            population_statistics(self, batches)
        elif isinstance(self.layer, StepwiseLSTM) and len(self.layer.norms):
            batch_norm.population_statistics(self, batches)
        self.eval()

    @contextmanager
    def settled(self, batches: Batches) -> Iterator[None]:
        """Be in evaluation for a while, with exact statistics; then in training, with those of before."""
        running = self.statistics()
        self.settle(batches)
        yield
        self.restore(running)
        self.train()

    def statistics(self) -> dict[str, Tensor]:
        """A copy of what is stored."""
        return {name: value.clone() for name, value in self.named_buffers()}

    @torch.no_grad()
    def restore(self, statistics: Mapping[str, Tensor]) -> None:
        """Store statistics that were copied."""
        for name, value in self.named_buffers():
            value.copy_(statistics[name])

    @torch.no_grad()
    def average_statistics(self) -> None:
        """Give every step of the paper's layer the mean of the statistics of all steps."""
        for name, value in self.named_buffers():
            if "running" in name:
                value.copy_(value.mean(0).expand_as(value))


def start_lstm(layer: nn.LSTM, hidden_init: HiddenInit) -> None:
    """The starting values of `BatchNormLSTM` for torch's layer, or its own weights; forget bias 1 in either case."""
    hidden = layer.hidden_size
    weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
    with torch.no_grad():
        if hidden_init != "torch":
            nn.init.orthogonal_(weight_ih)
            nn.init.orthogonal_(weight_hh)
        if hidden_init == "identity":
            gates = nn.init.orthogonal_(torch.empty(3 * hidden, hidden))
            weight_hh.copy_(torch.cat((gates[: 2 * hidden], torch.eye(hidden), gates[2 * hidden :])))
        bias_ih.zero_()[hidden : 2 * hidden] = 1
        bias_hh.zero_()

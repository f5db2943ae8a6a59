"""The recurrent layers that are compared, behind one call."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers import batch_norm
from workedpapers.recurrent_batch_norm import BatchNormLSTM, population_statistics

#: "lstm": torch's; "batch": the paper's; "layer": layer norm of the sum of both terms; "layer_each": of either term, as
#: in Ba et al.; "joint": one batch norm of the sum; "input": batch norm of the input's term only.
Kind = Literal["lstm", "batch", "layer", "layer_each", "joint", "input"]
KINDS = ("lstm", "batch", "layer", "layer_each", "joint", "input")
#: "torch": the weights of `torch.nn.LSTM` as it makes them, for "lstm" only; else see `BatchNormLSTM`.
HiddenInit = Literal["orthogonal", "identity", "torch"]
State = tuple[Tensor, Tensor]


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
            nn.ModuleList(
                nn.BatchNorm1d(size, eps, affine=False) for _ in range(max_length if kind in ("joint", "input") else 0)
            )
            for size in (gates, hidden_size)
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
        weight_init, eps, normalize_cell, hidden_init: of `BatchNormLSTM`; the first two of all normalised layers.
    Raises: ValueError: an unknown kind.
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
        inputs, hidden, outputs = sizes
        self.hidden_size = hidden
        self.layer: nn.Module
        if kind == "lstm":
            self.layer = nn.LSTM(inputs, hidden)
            start_lstm(self.layer, hidden_init)
        elif hidden_init == "torch":
            raise ValueError(f"hidden_init 'torch' is for model 'lstm', got {kind!r}")
        elif kind == "batch":
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
            self.layer = StepwiseLSTM(
                kind, inputs, hidden, max_length=max_length, weight_init=weight_init, eps=eps
            )
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

    def settle(self, batches: Iterable[Tensor | tuple[Tensor, ...]]) -> None:
        """Give layers with batch statistics exact ones, from inputs (time, batch, ·) or tuples of arguments."""
        if isinstance(self.layer, BatchNormLSTM):
            population_statistics(self, batches)
        elif isinstance(self.layer, StepwiseLSTM) and len(self.layer.norms):
            batch_norm.population_statistics(self, batches)


def start_lstm(layer: nn.LSTM, hidden_init: HiddenInit) -> None:
    """The starting values of `BatchNormLSTM` for torch's layer, or its own weights; forget bias 1 in either case."""
    hidden = layer.hidden_size
    weight = layer.weight_hh_l0
    with torch.no_grad():
        if hidden_init != "torch":
            nn.init.orthogonal_(layer.weight_ih_l0)
            nn.init.orthogonal_(weight)
        if hidden_init == "identity":
            gates = nn.init.orthogonal_(torch.empty(3 * hidden, hidden))
            weight.copy_(torch.cat((gates[: 2 * hidden], torch.eye(hidden), gates[2 * hidden :])))
        for bias in (layer.bias_ih_l0, layer.bias_hh_l0):
            bias.zero_()
        layer.bias_ih_l0[hidden : 2 * hidden] = 1

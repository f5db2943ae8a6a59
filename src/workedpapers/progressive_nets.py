"""Progressive networks: a column of layers for every task, old columns frozen, lateral connections into the new one.

Rusu, Rabinowitz, Desjardins, Soyer, Kirkpatrick, Kavukcuoglu, Pascanu, Hadsell, "Progressive Neural Networks", 2016
(arXiv 1606.04671). Equation tags are those of the chapter `notebooks/progressive_nets`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

__all__ = [
    "Features",
    "Lateral",
    "ProgressiveNetwork",
    "Sources",
    "Tap",
    "average_fisher_sensitivity",
    "average_perturbation_sensitivity",
    "fisher_information",
    "transfer_score",
]

Lateral = Literal["linear", "adapter"]
Sources = Literal["previous", "same", "all", "mixture"]
Weighted = nn.Linear | nn.Conv2d
#: What is done to a hidden activation on the way: (layer, column, activation) → activation; both count from zero.
Tap = Callable[[int, int, Tensor], Tensor]

NOISE, HALVINGS = (1e-3, 1e3), 16  # levels of noise that are tried; found to 2·10⁻⁴
Moments = tuple[int, Any, Any]
START: Moments = (0, 0.0, 0.0)  # number, mean and summed squared deviation of no values


@dataclass(frozen=True)
class Features:
    """What the column of a task reads from those before it, to be used again while it is trained.

    Attributes:
        task: whose column reads them.
        layers: by hidden layer, the activations of all earlier columns side by side: (examples, Σ n_i) or, for maps,
            (examples, Σ n_i, height, width). None before the first column.
    """

    task: str
    layers: tuple[Tensor, ...]

    def __getitem__(self, index: Tensor | slice | Sequence[int]) -> "Features":
        """Those of some examples."""
        return Features(self.task, tuple(layer[index] for layer in self.layers))


class ProgressiveNetwork(nn.Module):
    """Columns that learn one task after the other; only the newest is trained (eqs. 1 and 2 of the paper).

        network = ProgressiveNetwork(lambda number: nn.Sequential(nn.Linear(784, 256), nn.ReLU()))
        optimiser = torch.optim.Adam(network.add_column("digits", 10))
        output = network(x, "digits")

    Args:
        make_column: called with the number of columns so far; returns the hidden layers of the next, a new
            `nn.Sequential`. What follows a `Linear` or `Conv2d` up to the next one (activation, norm, pooling,
            flattening) is that layer's f, what comes before the first is done to the input. The last of them is a
            `Linear`; the output layer is added here.
        lateral: "linear", Σ U h (PNN.2), or "adapter", U f(V [α h]) with f = ReLU, and V a 1 × 1 convolution between
            maps (PNN.6). No layer reads the input of another column, which is its own (PNN.18).
        sources: hidden layers of earlier columns that a layer reads: the "previous" one, as in the paper; the "same"
            one; "all"; or a learned "mixture" of all, weighted by a softmax. All but the first need Linear layers, and
            the last one width within a column. Where a column has fewer layers, its last stands for those it lacks.
        adapter_width: r, outputs of V. None: as many as the layer has, as in the paper.
        scale_init: initial α of every earlier column, in the middle of the paper's grid of 1, 0.1 and 0.01.
        lateral_gain: factor on the initial U, which is drawn as W is, column by column; with 0 a new column begins as
            a network of its own (PNN.26).
        gate: initial b of a gate σ(b) per unit on what arrives laterally; none if None, as in the paper.

    A new column takes dtype and device of those before. A frozen one always evaluates, gets no gradient and has new
    parameters, so that an optimiser made before holds none of those in use. It runs without autograd unless the input
    requires a gradient. What still moves it: writing to its tensors; `requires_grad` set by hand for its parameters
    and the input; an optimiser over all parameters that also moves those without a gradient, as torch's do not.
    Raises: ValueError, TypeError: an argument outside what is listed.
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
        if not callable(make_column):
            raise TypeError(f"make_column must be callable, got {make_column!r}")
        _check_choice("lateral", lateral, Lateral)
        _check_choice("sources", sources, Sources)
        if adapter_width is not None:
            _check_size("adapter_width", adapter_width)
        _check_number("scale_init", scale_init)
        _check_number("lateral_gain", lateral_gain)
        if gate is not None:
            _check_number("gate", gate)
        self.make_column, self.lateral, self.sources, self.adapter_width = make_column, lateral, sources, adapter_width
        self.scale_init, self.lateral_gain, self.gate = scale_init, lateral_gain, gate
        self.tasks: list[str] = []
        self.columns = nn.ModuleList()

    def extra_repr(self) -> str:
        """The arguments and the tasks, for `print(network)`."""
        names = ("lateral", "sources", "adapter_width", "scale_init", "lateral_gain", "gate", "tasks")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def add_column(self, task: str, n_outputs: int) -> list[nn.Parameter]:
        """Freeze what there is and add a column for a task; to load a `state_dict`, add all in the same order first.

        Returns: the parameters of the new column, to be given to an optimiser.
        Raises: ValueError, TypeError: a task that is there, or what `make_column` returns does not fit.
        """
        if not isinstance(task, str):
            raise TypeError(f"task must be a str, got {task!r}")
        if task in self.tasks:
            raise ValueError(f"task {task!r} has a column, those are {self.tasks}")
        _check_size("n_outputs", n_outputs)
        column = _Column(self, n_outputs)
        self.freeze()
        self.columns.append(column)
        self.tasks.append(task)
        return list(column.parameters())

    def freeze(self) -> None:
        """Fix every column there is."""
        for column in self._before(len(self.columns)):
            column.freeze()

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether columns that are not frozen learn."""
        for column in self._before(len(self.columns)):
            column.requires_grad_(requires_grad and not column.frozen)
        return self

    def forward(self, x: Tensor, task: str, features: Features | None = None) -> Tensor:
        """Outputs for a task.

        Args:
            x: inputs, batch first.
            task: whose outputs.
            features: `network.features(x, task)`, if at hand: then the earlier columns do not run.
        Returns: (batch, n_outputs of that task).
        Raises: ValueError, TypeError: an unknown task; features of another task, network or number of examples, or
            along with an input that requires a gradient, which would miss its way through the earlier columns.
        """
        return self.run(x, task, features=features)[0]

    @torch.no_grad()
    def features(self, x: Tensor, task: str) -> Features:
        """What the column of a task reads from those before it; constants, as those are frozen."""
        k, column = self._find(task)
        return Features(task, tuple(column.beside(self._hidden(x, k))))

    def run(
        self, x: Tensor, task: str, *, features: Features | None = None, tap: Tap | None = None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Outputs for a task, and the hidden activations behind them.

        Args: x, task, features: as for `forward`; tap: applied to each hidden activation where it arises.
        Returns: (batch, n_outputs), and by hidden layer of the task's column the activations by column, those from
            features in one. A column with fewer layers gives its last again.
        """
        k, column = self._find(task)
        if features is None:
            hidden = self._hidden(x, k, tap)
            beside, before = column.beside(hidden), column.rows(hidden)
        else:
            column.check(features, task, x)
            beside = list(features.layers)
            before = [[layer] for layer in beside] or column.rows([])
        own, output = column(x, beside, k, tap)
        return output, [[*row, h] for row, h in zip(before, own, strict=True)]

    def _hidden(self, x: Tensor, k: int, tap: Tap | None = None) -> list[list[Tensor]]:
        hidden: list[list[Tensor]] = []
        for j, column in enumerate(self._before(k)):
            hidden.append(column(x, column.beside(hidden), j, tap, head=False)[0])
        return hidden

    def _find(self, task: str) -> tuple[int, "_Column"]:
        if task not in self.tasks:
            raise ValueError(f"task must be one of {self.tasks}, got {task!r}")
        k = self.tasks.index(task)
        return k, cast(_Column, self.columns[k])

    def _before(self, k: int) -> list["_Column"]:
        return [cast(_Column, column) for column in self.columns[:k]]


class _Column(nn.Module):
    """The layers of one column, each of which reads its predecessor and the columns before."""

    def __init__(self, network: ProgressiveNetwork, n_outputs: int) -> None:
        super().__init__()
        earlier = network._before(len(network.columns))
        entry, groups = _layers(network.make_column(len(earlier)), set(network.modules()))
        self.frozen = False
        first, last = groups[0][0].weight, groups[-1][0].weight
        self.entry = nn.Sequential(*entry)
        with first.device:
            groups.append((nn.Linear(len(last), n_outputs), []))
            own = [layer for layer, _ in groups]
            #: By hidden layer, its width and whether it gives maps, as the next layer takes it.
            self.sizes = [layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features for layer in own[1:]]
            self.maps = [isinstance(layer, nn.Conv2d) for layer in own[1:]]
            #: By hidden layer, the widths that are read, by column.
            self.widths: list[list[int]] = self.rows([column.sizes for column in earlier])
            for row, maps in zip(self.rows([column.maps for column in earlier]), self.maps, strict=True):
                if any(row) if not maps else not all(row):
                    raise ValueError(f"columns must turn from maps to units after the same layer, got {own}")
            if network.sources != "previous" and (isinstance(own[0], nn.Conv2d) or any(self.maps)):
                raise ValueError(f"sources={network.sources!r} needs columns of Linear layers, got {own}")
            if network.sources == "mixture" and any(row != self.widths[0] for row in self.widths):
                raise ValueError(f"sources='mixture' needs one width within a column, got {self.widths}")
            self.layers = nn.ModuleList(_Layer(*group, i, self.widths, network) for i, group in enumerate(groups))
        self.to(next(earlier[0].parameters()) if earlier else first)

    def freeze(self) -> None:
        """Evaluate from now on, with new parameters that need no gradient."""
        fixed = {p: nn.Parameter(p.detach().clone(), requires_grad=False) for p in self.parameters()}
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, fixed[parameter])
        self.frozen = True
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode, unless frozen."""
        return super().train(mode and not self.frozen)

    def rows(self, columns: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """What belongs to layers of columns, by the hidden layers of this one; the last where layers are missing."""
        return [[column[min(i, len(column) - 1)] for column in columns] for i in range(len(self.sizes))]

    def beside(self, hidden: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Activations of earlier columns side by side, by hidden layer of this one."""
        return [torch.cat(row, 1) for row in self.rows(hidden)] if hidden else []

    def check(self, features: Features, task: str, x: Tensor) -> None:
        """Refuse features that are not of this column's sources at inputs like x."""
        if not isinstance(features, Features):
            raise TypeError(f"features must be Features, got {type(features).__name__}")
        if features.task != task:
            raise ValueError(f"features must be those for task {task!r}, got those for {features.task!r}")
        want = [(len(x), sum(row)) for row in self.widths if row]
        have = [tuple(layer.shape[:2]) for layer in features.layers]
        if want != have:
            raise ValueError(f"features must have shapes {want} by layer, got {have}")
        if have and x.requires_grad and torch.is_grad_enabled():
            raise ValueError("features are constants, which the gradient of x would miss: leave them out")

    def forward(
        self, x: Tensor, beside: list[Tensor], k: int, tap: Tap | None, head: bool = True
    ) -> tuple[list[Tensor], Tensor]:
        """Hidden activations, and the outputs if they are asked for."""
        follow = not self.frozen or x.requires_grad or tap is not None
        with torch.set_grad_enabled(torch.is_grad_enabled() and follow):
            h, own = self.entry(x), []
            for i in range(len(self.sizes)):
                h = self.layers[i](h, beside)
                if tap is not None:
                    h = tap(i, k, h)
                own.append(h)
            return own, self.layers[-1](h, beside) if head else h


class _Layer(nn.Module):
    """f(W h + what comes laterally)."""

    columns: Tensor  # number of the source of every unit read

    def __init__(
        self, own: Weighted, after: list[nn.Module], i: int, widths: list[list[int]], network: ProgressiveNetwork
    ) -> None:
        super().__init__()
        self.own, self.after = own, nn.Sequential(*after)
        self.lateral: Weighted | None = None
        if i == 0 or not widths[0]:
            return
        mixed, depth, outputs = network.sources == "mixture", len(widths), len(own.weight)
        self.read = {"previous": [i - 1], "same": [min(i, depth - 1)]}.get(network.sources, list(range(depth)))
        sizes = widths[0] if mixed else [size for layer in self.read for size in widths[layer]]
        self.mixture = nn.Parameter(torch.zeros(depth)) if mixed else None
        self.scale = self.gate = None
        if network.lateral == "adapter":
            width = network.adapter_width or outputs
            self.scale = nn.Parameter(torch.full((len(sizes),), float(network.scale_init)))
            columns = torch.cat([torch.full((size,), n) for n, size in enumerate(sizes)])
            self.register_buffer("columns", columns, persistent=False)
            maps = isinstance(own, nn.Conv2d)
            self.project: Weighted = nn.Conv2d(sum(sizes), width, 1) if maps else nn.Linear(sum(sizes), width)
            self.lateral = _like(own, width)
        else:
            self.lateral = _like(own, sum(sizes))
            size = torch.cat([torch.full((size,), float(size)) for size in sizes])
            with torch.no_grad():  # each U as a layer of its own would draw it
                if isinstance(own, nn.Conv2d):
                    self.lateral.weight.mul_((sum(sizes) / size).sqrt().view(-1, 1, 1))
                else:
                    self.lateral.weight.uniform_(-1, 1).mul_(size.rsqrt())
        with torch.no_grad():
            self.lateral.weight.mul_(network.lateral_gain)
        if network.gate is not None:
            self.gate = nn.Parameter(torch.full((outputs,), float(network.gate)))

    def forward(self, h: Tensor, beside: list[Tensor]) -> Tensor:
        dim = self.own.weight.dim()
        if h.dim() != dim:
            raise ValueError(f"{self.own} takes a batch of {dim} dimensions, got {tuple(h.shape)}")
        z: Tensor = self.own(h)
        if self.lateral is not None:
            read, shape = [beside[layer] for layer in self.read], (-1, *[1] * (dim - 2))
            if self.mixture is not None:
                s = torch.einsum("l,lbn->bn", self.mixture.softmax(0), torch.stack(read))
            else:
                s = torch.cat(read, 1) if len(read) > 1 else read[0]
            if self.scale is not None:
                s = self.project(self.scale[self.columns].view(shape) * s).relu()
            arrived: Tensor = self.lateral(s)
            if arrived.shape != z.shape:
                raise ValueError(f"columns must have maps of one size, got {tuple(arrived.shape)} and {tuple(z.shape)}")
            z = z + (arrived if self.gate is None else self.gate.sigmoid().view(shape) * arrived)
        output: Tensor = self.after(z)
        return output


def _layers(
    made: nn.Sequential, taken: set[nn.Module]
) -> tuple[list[nn.Module], list[tuple[Weighted, list[nn.Module]]]]:
    """What comes before the first weighted layer, and every weighted layer with what follows it."""
    if not isinstance(made, nn.Sequential):
        raise TypeError(f"make_column must return an nn.Sequential, got {type(made).__name__}")
    if not taken.isdisjoint(made.modules()):
        raise ValueError("make_column must make new modules, got some of an earlier column")
    entry: list[nn.Module] = []
    groups: list[tuple[Weighted, list[nn.Module]]] = []
    for module in made:
        inner = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d | LazyModuleMixin)]
        if inner and (inner[0] is not module or isinstance(module, LazyModuleMixin)):
            raise ValueError(f"layers must stand in the Sequential itself and know their sizes, got {module}")
        if isinstance(module, nn.Linear | nn.Conv2d):
            groups.append((module, []))
        else:
            (groups[-1][1] if groups else entry).append(module)
    if not groups or not isinstance(groups[-1][0], nn.Linear):
        raise ValueError(f"a column must end in a Linear and what follows it, got {made}")
    return entry, groups


def _like(own: Weighted, inputs: int) -> Weighted:
    """A layer without bias that gives what own gives, from other inputs."""
    if isinstance(own, nn.Linear):
        return nn.Linear(inputs, own.out_features, bias=False)
    form: dict[str, Any] = {name: getattr(own, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    return nn.Conv2d(inputs, own.out_channels, **form, padding_mode=own.padding_mode, bias=False)


def fisher_information(
    network: ProgressiveNetwork,
    batches: Iterable[Tensor],
    task: str,
    *,
    logits: Callable[[Tensor], Tensor] | None = None,
) -> list[list[Tensor]]:
    """Diagonal of the Fisher information in a task's normalised hidden units, eq. (PNN.12).

    The variance of a unit times the mean of Σ_a π(a|x) (∂ log π(a|x) / ∂h)², exact: no action is drawn, and slopes pass
    through the frozen columns. A unit of maps is a map, flattened or not: its slopes are summed over pixels before
    they are squared, its variance is that over data and pixels.

    Args:
        network: evaluated; its mode is as before afterwards.
        batches: inputs, divided in any way.
        task: whose π, and whose column is the last that counts.
        logits: takes those of π out of the outputs, where there are others such as a value.
    Returns: by layer, by column, (units,), in float32 or wider; (0,) where a column lacks the layer.
    """
    columns, places = _places(network, task)
    moments, count = dict.fromkeys(places, START), 0
    slopes: dict[tuple[int, int], Any] = dict.fromkeys(places, 0.0)
    with _evaluating(network), torch.enable_grad():
        for x in batches:
            output, hidden = network.run(x, task, tap=lambda i, j, h: h if h.requires_grad else h.requires_grad_())
            log_p = (output if logits is None else logits(output)).log_softmax(1)
            for a in range(log_p.shape[1]):
                p, total = log_p[:, a, None].detach().exp(), log_p[:, a].sum()
                flat = [hidden[i][j] for i, j in places]
                gradients = torch.autograd.grad(total, flat, retain_graph=True)
                for place, gradient in zip(places, gradients, strict=True):
                    slope = _units(gradient, columns, place).sum(2)
                    slopes[place] = slopes[place] + (p * slope.square()).sum(0)
            for i, j in places:
                moments[i, j] = _merge(moments[i, j], _units(hidden[i][j], columns, (i, j)))
            count += len(x)
    if count == 0:
        raise ValueError("batches must hold at least one example")
    info = {place: moments[place][2] / moments[place][0] * slopes[place] / count for place in places}
    nothing = info[0, 0].new_zeros(0)
    return [[info.get((i, j), nothing) for j in range(len(columns))] for i in range(len(columns[-1].sizes))]


def average_fisher_sensitivity(
    network: ProgressiveNetwork,
    batches: Iterable[Tensor],
    task: str,
    *,
    logits: Callable[[Tensor], Tensor] | None = None,
    paired: bool = False,
) -> Tensor:
    """Share of every column in the sensitivity of a task's outputs to each layer (AFS), eq. (PNN.13).

    Args:
        network, batches, task, logits: as for `fisher_information`.
        paired: whether shares are taken unit by unit, of the unit of that number in every column, and summed, as in
            the paper (PNN.25); else they are those of a layer's sums, as units of columns do not correspond.
    Returns: (layers, columns). Rows sum to one, paired to the number of units that are not dead everywhere; a layer
        that is dead throughout has zeros.
    """
    info = fisher_information(network, batches, task, logits=logits)
    if not paired:
        info = [[units.sum(0, keepdim=True) for units in row] for row in info]
    elif any(len({len(units) for units in row}) > 1 for row in info):
        raise ValueError(f"paired shares need columns of one width, got {[[len(u) for u in row] for row in info]}")
    return torch.stack([_shares(torch.stack(row)).sum(1) for row in info])


def average_perturbation_sensitivity(
    network: ProgressiveNetwork,
    score: Callable[[Callable[[Tensor], Tensor]], float],
    task: str,
    drop: float = 0.5,
    *,
    chance: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Share of every column in how much noise in a layer lowers a task's score (APS, the paper's appendix).

    Gaussian noise goes to all units of one layer of one column at a time, fresh at each pass. Its standard deviation is
    σ times each unit's own over a run without noise (of maps: each map's own; noise differs by pixel). Λ = 1/σ² at the
    σ where the score is down by `drop`, found by bisection on log σ between 10⁻³ and 10³; 0 if there is none.

    Args:
        network: evaluated; its mode is as before afterwards.
        score: from a function, inputs → outputs, to how good it is; called some twenty times for every layer and
            column. Fix its data: the noise is the same at every σ.
        task: whose outputs.
        drop: part that is to be lost of what the score is above `chance`, in (0, 1); the paper's is a half.
        chance: the score of random outputs.
        seed: of the noise.
    Returns: Λ over its sum in the layer, (layers, columns); zeros where no column of the layer matters.
    Raises: ValueError: a score without noise that is not above chance, or that asks for no outputs.
    """
    _check_number("drop", drop, 0, 1)
    _check_number("chance", chance)
    columns, places = _places(network, task)
    moments = dict.fromkeys(places, START)

    def observe(i: int, j: int, h: Tensor) -> Tensor:
        if (i, j) in moments:
            moments[i, j] = _merge(moments[i, j], _units(h, columns, (i, j)))
        return h

    def scored(tap: Tap) -> float:
        return float(score(lambda x: network.run(x, task, tap=tap)[0]))

    def falls(place: tuple[int, int], log_sigma: float) -> bool:
        count, _, squares = moments[place]
        deviation = math.exp(log_sigma) * (squares / count).sqrt()
        generator = torch.Generator(deviation.device).manual_seed(seed)

        def disturb(i: int, j: int, h: Tensor) -> Tensor:
            if (i, j) != place:
                return h
            noise = torch.randn(h.shape, generator=generator, device=h.device, dtype=deviation.dtype)
            by_unit = deviation.repeat_interleave(math.prod(h.shape[1:]) // len(deviation)).view(h.shape[1:])
            moved: Tensor = h + (noise * by_unit).to(h.dtype)
            return moved

        return scored(disturb) <= chance + (1 - drop) * (clean - chance)

    def precision(place: tuple[int, int]) -> float:
        low, high = map(math.log, NOISE)
        if place not in moments or not falls(place, high):
            return 0.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if falls(place, middle) else (middle, high)
        return math.exp(-2 * high)

    with _evaluating(network), torch.no_grad():
        clean = scored(observe)
        if moments[0, 0] == START:
            raise ValueError("score must call the function it is given, with at least one example")
        if not clean > chance:
            raise ValueError(f"the score must be above chance, {chance}, got {clean}")
        found = [[precision((i, j)) for i in range(len(columns[-1].sizes))] for j in range(len(columns))]
    return _shares(torch.tensor(found, device=moments[0, 0][2].device)).mT


def transfer_score(curve: Tensor, baseline: Tensor, random: Tensor | float = 0.0) -> Tensor:
    """Area under a learning curve over that of the baseline, both above a random policy's, in per cent (PNN.11).

    Args:
        curve, baseline: scores at the same moments of training, (…, time), of shapes that broadcast: seeds, say.
        random: the score of a random policy; without it, games with negative scores turn the order round (PNN.21).
    Returns: (…,).
    Raises: ValueError: a baseline whose area is not above the random policy's; curves of different lengths.
    """
    if not curve.dim() or not baseline.dim() or not curve.shape[-1] == baseline.shape[-1] > 0:
        have = f"{tuple(curve.shape)} and {tuple(baseline.shape)}"
        raise ValueError(f"curve and baseline must be (…, time) with the same times, got shapes {have}")
    above = baseline.mean(-1) - random
    if not bool((above > 0).all()):
        raise ValueError(f"the baseline's area must be above that of random, {random}, got {baseline.mean(-1)}")
    return 100 * (curve.mean(-1) - random) / above


def _places(network: ProgressiveNetwork, task: str) -> tuple[list[_Column], list[tuple[int, int]]]:
    """The columns that a task uses, and (layer, column) of their hidden layers, as far as its own column goes."""
    columns = network._before(network._find(task)[0] + 1)
    depth = len(columns[-1].sizes)
    return columns, [(i, j) for j, column in enumerate(columns) for i in range(min(depth, len(column.sizes)))]


def _units(h: Tensor, columns: list[_Column], place: tuple[int, int]) -> Tensor:
    """An activation or its slope as (batch, units, pixels), in float32 or wider; flattened maps are maps."""
    own = columns[place[1]].layers[place[0]].own
    units = own.out_channels if isinstance(own, nn.Conv2d) else h.shape[1]
    return (
        h.detach()
        .to(torch.promote_types(h.dtype, torch.float32))
        .reshape(len(h), units, math.prod(h.shape[1:]) // units)
    )


def _merge(moments: Moments, h: Tensor) -> Moments:
    """Number, mean and summed squared deviation of units with further values, by Chan's rule, which does not cancel."""
    count, mean, squares = moments
    n = len(h) * h.shape[2]
    if n == 0:
        return moments
    variance, new = torch.var_mean(h, (0, 2), correction=0)
    share = n / (count + n)
    return count + n, mean + share * (new - mean), squares + n * variance + count * share * (new - mean) ** 2


def _shares(parts: Tensor) -> Tensor:
    """Parts of the sum over the first dimension; zero where all are."""
    total: Tensor = parts.sum(0)
    return parts / torch.where(total > 0, total, 1.0)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Every module evaluates, and afterwards does what it did before."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _check_choice(name: str, choice: str, choices: Any) -> None:
    if choice not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {choice!r}")


def _check_size(name: str, size: int) -> None:
    if not isinstance(size, Integral) or isinstance(size, bool):
        raise TypeError(f"{name} must be an int, got {size!r}")
    if size < 1:
        raise ValueError(f"{name} must be at least 1, got {size}")


def _check_number(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not low < value < high:
        raise ValueError(f"{name} must lie between {low} and {high}, got {value}")

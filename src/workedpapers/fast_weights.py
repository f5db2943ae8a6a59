"""Fast weights: a recurrent network that attends to its own recent past.

Ba, Hinton, Mnih, Leibo, Ionescu, "Using Fast Weights to Attend to the Recent Past", 2016 (arXiv 1610.06258).
Equation tags are those of the chapter `notebooks/fast_weights`.
"""

import math
from numbers import Integral, Real
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.types import Device

Write = Literal["after", "delayed", "preliminary"]
Form = Literal["attention", "matrix"]


class FastWeightsState(NamedTuple):
    """What a `FastWeights` layer of the attention form carries from one piece of a sequence to the next.

    Opaque: pass it back to the layer that returned it. Gradients flow through it, so after a backward pass go on from
    `state.detach()`. For a file take `tuple(state)`: `torch.load` refuses classes it does not know. A state made under
    `torch.inference_mode` cannot be trained on, one made under `torch.no_grad` can.

    Attributes:
        hidden: last output, shape (batch, hidden_size).
        memory: the written vectors, oldest first, shape (batch, written, hidden_size): it grows with every step.
    """

    hidden: Tensor
    memory: Tensor

    def detach(self) -> "FastWeightsState":
        """The same numbers without their history, for truncated backpropagation through time."""
        return FastWeightsState(self.hidden.detach(), self.memory.detach())


class FastMatrixState(NamedTuple):
    """`FastWeightsState` of the matrix form.

    Attributes:
        hidden: last output, shape (batch, hidden_size).
        memory: the fast matrix, shape (batch, hidden_size, hidden_size), in float32 or wider (but see `FastWeights`).
    """

    hidden: Tensor
    memory: Tensor

    def detach(self) -> "FastMatrixState":
        """The same numbers without their history."""
        return FastMatrixState(self.hidden.detach(), self.memory.detach())


State = FastWeightsState | FastMatrixState


def fast_matrix(hidden: Tensor, decay: float, rate: float) -> Tensor:
    """The fast weight matrix that a sequence of hidden vectors leaves behind.

    A = rate · Σ_τ decay^(time−τ) h_τ h_τᵀ, eq. (FW.2) of `notebooks/fast_weights`; eq. 3 of the paper.

    Args:
        hidden: vectors in the order of writing, shape (time, H).
        decay: factor on the matrix at every step, in [0, 1].
        rate: weight of the newest vector.
    Returns: shape (H, H), dtype of hidden, symmetric; zero where time is 0. Half precision is computed in float32.
    Raises: ValueError, TypeError: another rank, an integer tensor, decay outside [0, 1], rate not finite.
    """
    _check_rates(decay, rate)
    _check_tensor("hidden", hidden, ("time", "H"))
    weights = _weights(len(hidden), decay, rate, hidden)
    wide = hidden.to(weights.dtype)
    return (wide.T @ (weights.unsqueeze(1) * wide)).to(hidden.dtype)


def attend(past: Tensor, query: Tensor, decay: float, rate: float) -> Tensor:
    """What the fast matrix of `past` makes of `query`, without the matrix.

    A q = rate · Σ_τ decay^(time−τ) h_τ (h_τᵀ q), eq. (FW.4) of `notebooks/fast_weights`; eq. 4 of the paper. It
    costs 2 · time · H multiply-adds an example, against H² for the product with a matrix that is there.

    Args:
        past: vectors in the order of writing, shape (batch, time, H).
        query: shape (batch, H), of past's dtype.
        decay: factor on older vectors, a step, in [0, 1].
        rate: weight of the newest vector.
    Returns: shape (batch, H), dtype of query; zero where time is 0. In half precision the scores h_τᵀ q and the result
        are rounded to it; weights, products and their sum are in float32.
    Raises: ValueError, TypeError: shapes, dtypes or devices that do not agree, an integer tensor, decay outside
        [0, 1], rate not finite.
    """
    _check_rates(decay, rate)
    _check_tensor("past", past, ("batch", "time", "H"))
    _check_tensor("query", query, (past.shape[0], past.shape[2]))
    _check_kind("query", query, "past is", past.dtype, past.device)
    vectors = past.transpose(0, 1)
    return _attend(vectors, query, _weights(len(vectors), decay, rate, vectors))


class FastWeights(nn.Module):
    """A ReLU recurrent layer with a fast weight matrix A that decays and learns at every step.

    One step, with N the layer norm, N₀ = N if `norm_preliminary` else the identity (eqs. (FW.1), (FW.6), (FW.7)):

        z   = weight_hh h + weight_ih x + bias
        h_0 = relu(N₀(z));  h_s = relu(N(z + A h_{s−1})),  s = 1 … inner_steps;  h = the last h_s
        A   ← decay · A + rate · (written vector)(written vector)ᵀ

    Source: eqs. 1-5 of the paper.

    Args:
        input_size: features of one input vector.
        hidden_size: units H.
        decay: λ of the paper, in [0, 1]; 0.95 in the paper, 0.9 for associative retrieval.
        rate: η of the paper, finite.
        inner_steps: S, how often a step reads A; with 0, A plays no part and the layer is a plain ReLU network.
        write: which vectors A holds while a step is computed: "after" the outputs of all earlier steps (the paper),
            "delayed" the same but the last, "preliminary" h_0 of all earlier steps and of this one.
        layer_norm: whether N is a `torch.nn.LayerNorm` (one, shared by all inner steps) or the identity.
        norm_preliminary: whether h_0 is normalised too (needs `layer_norm` to matter).
        form: "attention" reads A by attending to the written vectors, "matrix" keeps A itself. Same numbers.
        device, dtype: of the parameters, as for torch's layers.
    Shape: input (batch, time, input_size) → output (batch, time, hidden_size).
    Half precision: outputs, written vectors and scores are rounded to it; the weights rate · decay^age and A are kept
        in float32. Autocast rounds A at every write: there, take the attention form for a decay near 1.
    Compilers: torch.compile (one graph), torch.export and torch.func take the layer; TorchScript does not.
    Raises: ValueError, TypeError: an argument outside what is listed.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        decay: float = 0.95,
        rate: float = 0.5,
        inner_steps: int = 1,
        write: Write = "after",
        layer_norm: bool = True,
        norm_preliminary: bool = False,
        form: Form = "attention",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_rates(decay, rate)
        for name, count, least in (
            ("input_size", input_size, 1),
            ("hidden_size", hidden_size, 1),
            ("inner_steps", inner_steps, 0),
        ):
            if not isinstance(count, Integral) or isinstance(count, bool):
                raise TypeError(f"{name} must be an int, got {count!r}")
            if count < least:
                raise ValueError(f"{name} must be at least {least}, got {count}")
        for name, choice, choices in (("write", write, get_args(Write)), ("form", form, get_args(Form))):
            if choice not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {choice!r}")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.decay, self.rate, self.inner_steps = decay, rate, inner_steps
        self.write, self.form, self.norm_preliminary = write, form, norm_preliminary
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size, device=device, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.norm: nn.Module = nn.LayerNorm(hidden_size, device=device, dtype=dtype) if layer_norm else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start from 0.05·I for weight_hh and U(±1/√H) for weight_ih (the paper's ±√H is a misprint)."""
        bound = 1 / math.sqrt(self.hidden_size)
        nn.init.uniform_(self.weight_ih, -bound, bound)
        with torch.no_grad():  # torch.nn.init.eye_ fails where another device is torch's default
            self.weight_hh.zero_().fill_diagonal_(0.05)
        nn.init.zeros_(self.bias)
        if isinstance(self.norm, nn.LayerNorm):
            self.norm.reset_parameters()

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        return (
            f"{self.input_size}, {self.hidden_size}, decay={self.decay}, rate={self.rate}, "
            f"inner_steps={self.inner_steps}, write={self.write!r}, "
            f"norm_preliminary={self.norm_preliminary}, form={self.form!r}"
        )

    def forward(self, input: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over a sequence, or over the next piece of one.

        Under autocast any dtype but float64 goes in, and a state of lower precision may come out. It goes back in
        under autocast; elsewhere it is refused, since torch's layers cast nothing there either.

        Args:
            input: shape (batch, time, input_size), time at least 1, of the parameters' dtype and device.
            state: what the piece before returned; None at the start of a sequence.
        Returns: the outputs, shape (batch, time, hidden_size), and the state after the last step.
        Raises: ValueError, TypeError: another shape, dtype or device than these; a state of another form.
        """
        self._check_input(input, state)
        projected = F.linear(input, self.weight_ih, self.bias)  # (batch, time, H), all steps at once
        hidden, memory = self._start(projected, state)
        outputs: list[Tensor] = []
        for x in projected.unbind(1):
            previous, started = hidden, bool(outputs) or state is not None
            z = x + previous @ self.weight_hh.T
            hidden = torch.relu(self.norm(z) if self.norm_preliminary else z)
            if self.write == "preliminary":
                memory.write(hidden)
            for _ in range(self.inner_steps):  # z stays: the "sustained boundary condition"
                hidden = torch.relu(self.norm(z + memory.read(hidden)))
            if self.write == "after":
                memory.write(hidden)
            elif self.write == "delayed" and started:  # the first step has no output before it
                memory.write(previous)
            outputs.append(hidden)
        return torch.stack(outputs, 1), memory.state(hidden)

    def _start(self, projected: Tensor, state: State | None) -> tuple[Tensor, "_VectorMemory | _MatrixMemory"]:
        """The hidden vector and the memory before the first step."""
        batch, time, size = projected.shape
        hidden = projected.new_zeros(batch, size) if state is None else state.hidden
        if self.form == "attention":
            vectors = projected.new_zeros(batch, 0, size) if state is None else state.memory
            vectors = vectors.to(torch.promote_types(vectors.dtype, projected.dtype))  # for `cat` under autocast
            return hidden, _VectorMemory(vectors, time, self.decay, self.rate)
        matrix = projected.new_zeros(batch, size, size, dtype=_wide(projected)) if state is None else state.memory
        return hidden, _MatrixMemory(matrix, self.decay, self.rate)

    def _check_input(self, input: Tensor, state: State | None) -> None:
        _check_tensor("input", input, ("batch", "time", self.input_size))
        weight = self.weight_ih
        _check_kind("input", input, "the parameters are", weight.dtype, weight.device)
        if input.shape[1] == 0:
            raise ValueError(f"input needs at least one time step, got shape {tuple(input.shape)}")
        if state is None:
            return
        batch, size, attends = input.shape[0], self.hidden_size, self.form == "attention"
        own: type[State] = FastWeightsState if attends else FastMatrixState
        if not isinstance(state, (FastWeightsState, FastMatrixState)):
            raise TypeError(f"state must be a {own.__name__} or None, got {type(state).__name__}")
        _check_tensor("state.hidden", state.hidden, (batch, size))
        _check_kind("state.hidden", state.hidden, "the parameters are", weight.dtype, weight.device)
        _check_tensor("state.memory", state.memory, (batch, "written" if attends else size, size))
        if not isinstance(state, own):  # the matrix has the shape of `size` vectors
            raise TypeError(f"state is a {type(state).__name__}, form={self.form!r} takes a {own.__name__}")
        whose, dtype = ("the parameters are", weight.dtype) if attends else ("the fast matrix is", _wide(weight))
        _check_kind("state.memory", state.memory, whose, dtype, weight.device)


class _VectorMemory:
    """The attention form: keeps the written vectors."""

    def __init__(self, start: Tensor, room: int, decay: float, rate: float) -> None:
        self.vectors = start.transpose(0, 1)  # (written, batch, H)
        # Weights of the longest past of this call; a shorter past takes the last ones.
        self.weights = _weights(start.shape[1] + room, decay, rate, start)

    def write(self, vector: Tensor) -> None:
        self.vectors = torch.cat((self.vectors, vector.unsqueeze(0)))

    def read(self, query: Tensor) -> Tensor:
        return _attend(self.vectors, query, self.weights[len(self.weights) - len(self.vectors) :])

    def state(self, hidden: Tensor) -> FastWeightsState:
        return FastWeightsState(hidden, self.vectors.transpose(0, 1))


class _MatrixMemory:
    """The explicit form: keeps the fast matrix, whose decay would be lost if every write rounded it."""

    def __init__(self, start: Tensor, decay: float, rate: float) -> None:
        self.matrix, self.decay, self.rate = start, decay, rate

    def write(self, vector: Tensor) -> None:
        vector = _cast(vector, self.matrix.dtype)
        outer = (vector.unsqueeze(2), vector.unsqueeze(1))
        self.matrix = torch.baddbmm(self.matrix, *outer, beta=self.decay, alpha=self.rate)

    def read(self, query: Tensor) -> Tensor:
        wide = _cast(query, self.matrix.dtype).unsqueeze(2)
        return _cast(torch.bmm(self.matrix, wide).squeeze(2), query.dtype)

    def state(self, hidden: Tensor) -> FastMatrixState:
        return FastMatrixState(hidden, self.matrix)


def _wide(like: Tensor) -> torch.dtype:
    return torch.promote_types(like.dtype, torch.float32)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype == dtype else tensor.to(dtype)  # `to` costs a microsecond where nothing is to do


def _weights(time: int, decay: float, rate: float, like: Tensor) -> Tensor:
    """rate · decay^age of `time` vectors in the order of writing, float32 or wider; the newest has age 0."""
    age = torch.arange(time - 1, -1, -1, device=like.device, dtype=_wide(like))
    return rate * torch.as_tensor(decay, dtype=age.dtype, device=like.device) ** age


def _attend(vectors: Tensor, query: Tensor, weights: Tensor) -> Tensor:
    """Time first: sums of products are faster than batched products of tiny matrices."""
    scores: Tensor = torch.linalg.vecdot(vectors, query)  # (time, batch)
    weighted: Tensor = (weights.unsqueeze(1) * scores).unsqueeze(2) * vectors
    return _cast(weighted.sum(0), query.dtype)  # (batch, H)


def _check_rates(decay: float, rate: float) -> None:
    for name, value in (("decay", decay), ("rate", rate)):
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must lie in [0, 1], got {decay}")
    if not math.isfinite(rate):
        raise ValueError(f"rate must be finite, got {rate}")


def _check_tensor(name: str, tensor: Tensor, sizes: tuple[int | str, ...]) -> None:
    """Refuse another rank, another size where `sizes` holds a number, and integers."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    fits = tensor.dim() == len(sizes) and all(
        want == have for want, have in zip(sizes, tensor.shape, strict=True) if not isinstance(want, str)
    )
    if not fits:
        expected = ", ".join(map(str, sizes))
        raise ValueError(f"{name} must have shape ({expected}), got {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {tensor.dtype}")


def _check_kind(name: str, tensor: Tensor, whose: str, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse another device, and another dtype but where autocast casts it."""
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, {whose} on {device}")
    if tensor.dtype == dtype:
        return
    casts = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    if not casts or torch.float64 in (tensor.dtype, dtype):  # autocast leaves float64 alone
        raise TypeError(f"{name} is {tensor.dtype}, {whose} {dtype}")

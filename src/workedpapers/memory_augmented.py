"""A network with an external memory that overwrites what was used least, for learning from a few examples.

Santoro, Bartunov, Botvinick, Wierstra, Lillicrap, "One-shot Learning with Memory-Augmented Neural Networks", 2016
(arXiv 1605.06065). Equation tags are those of the chapter `notebooks/memory_augmented`.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.types import Device

Controller = Literal["lstm", "feedforward"]
Gate = Literal["controller", "learned"]
Content = Literal["key", "separate"]
Addressing = Literal["lru", "ntm"]
Targets = Literal["own", "shared"]
Ties = Literal["first", "all"]
Order = Literal["write", "address"]

EPSILON = 1e-8  # in squared norms: a slot of zeros is orthogonal to every key, and its gradient is finite
HEAD_GAIN, READ_GAIN = 3.0, 4.0  # of starting weights: a read is nearly a mean over slots, and small
SHIFTS = 3  # places that a head of the Turing memory can shift by: −1, 0, 1


class MemoryState(NamedTuple):
    """What a `LeastRecentlyUsedMemory` holds, in float32 or wider.

    Attributes:
        memory: (batch, slots, width).
        weights: of the last read, (batch, reads, slots).
        usage: (batch, slots); without gradient.
    """

    memory: Tensor
    weights: Tensor
    usage: Tensor

    def detach(self) -> "MemoryState":
        """The same numbers without their history, for a memory that outlives a backward pass."""
        return MemoryState(*(part.detach() for part in self))


class TuringState(NamedTuple):
    """What a `TuringMemory` holds, in float32 or wider.

    Attributes:
        memory: (batch, slots, width).
        weights: of the last read, then of the last write, (batch, reads + writes, slots).
    """

    memory: Tensor
    weights: Tensor

    def detach(self) -> "TuringState":
        """The same numbers without their history."""
        return TuringState(*(part.detach() for part in self))


class NetworkState(NamedTuple):
    """What a `MemoryAugmentedNetwork` carries from one piece of a sequence to the next.

    Gradients flow through it: after a backward pass go on from `state.detach()`. To keep the memory for another
    episode and nothing else, take `network.initial_state(batch)._replace(memory=state.memory.detach())`.

    Attributes:
        hidden, cell: of the controller, (batch, hidden_size); cell stays zero under a feed-forward controller.
        read: what was read last, (batch, reads · width).
        memory: the state of the memory.
    """

    hidden: Tensor
    cell: Tensor
    read: Tensor
    memory: MemoryState | TuringState

    def detach(self) -> "NetworkState":
        """The same numbers without their history, for truncated backpropagation through time."""
        return NetworkState(self.hidden.detach(), self.cell.detach(), self.read.detach(), self.memory.detach())


def cosine_similarity(keys: Tensor, memory: Tensor) -> Tensor:
    """Cosine of the angle between every key and every slot, eq. (MANN.3); zero where a key or a slot is zero.

    Args: keys: (batch, heads, width); memory: (batch, slots, width).
    Returns: (batch, heads, slots).
    """
    keys = keys * torch.rsqrt(keys.square().sum(-1, keepdim=True) + EPSILON)
    return torch.bmm(keys, memory.mT) * torch.rsqrt(memory.square().sum(-1) + EPSILON).unsqueeze(1)


class LeastRecentlyUsedMemory(nn.Module):
    """A memory whose writes go to the slots just read or to those used least (eqs. 2-8 of the paper).

        state = memory.initial_state(batch)
        state = memory.write(state, contents, gate)
        read, state = memory.read(state, keys)

    Args:
        slots, width: N slots of M numbers.
        reads, writes: heads; writes ≤ reads ≤ slots. Write head j writes where read head j has read, or to a least
            used slot. One write head, because the paper writes one key; every further one shortens the N steps that a
            slot is kept.
        decay: γ of the usage, in [0, 1]. The paper's value is not certain; 0.95 is that of later code.
        erase: whether the least used slot is set to zero before the write, as the text of the paper says between its
            equations 7 and 8. No gradient passes an erased slot.
        targets: eq. 6 of the paper marks as many slots as there are read heads. "own": write head j has the j-th least
            used one; "shared", as printed: every head writes to all of them.
        ties: "first": exactly as many slots as asked for, the first in order; "all", as printed ("≤"): all that tie
            with them, at the first step all N. Then slots written alike stay alike, so it is not the default.
    No gradient flows through the choice of slots. Half precision, autocast: what comes in is cast to the memory's
    dtype, float32 or wider; what is read goes out in the dtype of the keys.
    Raises: ValueError, TypeError: an argument outside what is listed.
    """

    def __init__(
        self,
        slots: int = 128,
        width: int = 40,
        reads: int = 4,
        *,
        writes: int = 1,
        decay: float = 0.95,
        erase: bool = True,
        targets: Targets = "own",
        ties: Ties = "first",
    ) -> None:
        super().__init__()
        _check_sizes(slots=slots, width=width, reads=reads, writes=writes)
        if not writes <= reads <= slots:
            raise ValueError(f"writes <= reads <= slots must hold, got {writes}, {reads} and {slots}")
        _check_number("decay", decay, lambda value: 0 <= value <= 1, "lie in [0, 1]")
        _check_choice("targets", targets, Targets)
        _check_choice("ties", ties, Ties)
        self.slots, self.width, self.reads, self.writes = slots, width, reads, writes
        self.decay, self.erase, self.targets, self.ties = decay, erase, targets, ties

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        return _named(self, "slots", "width", "reads", "writes", "decay", "erase", "targets", "ties")

    def initial_state(self, batch: int, *, device: Device = None, dtype: torch.dtype | None = None) -> MemoryState:
        """An empty memory: zeros, never read, never used; in float32 at least."""
        memory = torch.zeros(batch, self.slots, self.width, device=device, dtype=_wide(dtype))
        return MemoryState(memory, memory.new_zeros(batch, self.reads, self.slots), memory.new_zeros(memory.shape[:2]))

    def least_used(self, usage: Tensor) -> Tensor:
        """One at the slots that write heads may overwrite, eq. (MANN.7).

        Args: usage: (batch, slots).
        Returns: (batch, writes, slots).
        """
        return self._of_heads(self._least_used(usage))

    def write(self, state: MemoryState, contents: Tensor, gate: Tensor) -> MemoryState:
        """Write to the slots last read, or to the least used ones, eqs. (MANN.8), (MANN.9).

        Args:
            state: before.
            contents: (batch, writes, width).
            gate: share that goes to where the read head of the same number has read last, in [0, 1]; (batch, writes).
        Returns: the state after, its usage decayed and with these writes.
        Raises: ValueError, TypeError: a state of another memory; other shapes, a wider dtype or another device than
            the state's.
        """
        self.check(state)
        memory, weights, usage = state
        _check_tensor("contents", contents, (len(memory), self.writes, self.width), memory, narrower=True)
        _check_tensor("gate", gate, (len(memory), self.writes), memory, narrower=True)
        with _no_autocast(memory.device):
            marked = self._least_used(usage)
            if self.erase:
                memory = memory * (1 - marked[:, :1].mT)
            share = _cast(gate, memory.dtype).unsqueeze(-1)
            places = torch.lerp(self._of_heads(marked), weights[:, : self.writes], share)
            memory = torch.baddbmm(memory, places.mT, _cast(contents, memory.dtype))
            usage = self.decay * usage.detach() + places.detach().sum(1)  # no fused product, which would untie ties
        return MemoryState(memory, weights, usage)

    def address(self, state: MemoryState, keys: Tensor, sharpness: Tensor | float | None = None) -> Tensor:
        """Read weights, eq. (MANN.4): the softmax over slots of sharpness times the cosine.

        Args: keys: (batch, reads, width); sharpness: a positive number, or (batch, reads); None: one, as in the paper.
        Returns: (batch, reads, slots), of the memory's dtype.
        Raises: ValueError, TypeError: as for `write`; a number that is not positive and finite.
        """
        self.check(state)
        memory = state.memory
        _check_tensor("keys", keys, (len(memory), self.reads, self.width), memory, narrower=True)
        with _no_autocast(memory.device):
            scores = cosine_similarity(_cast(keys, memory.dtype), memory)
            if isinstance(sharpness, Tensor):
                _check_tensor("sharpness", sharpness, (len(memory), self.reads), memory, narrower=True)
                scores = scores * _cast(sharpness, memory.dtype).unsqueeze(-1)
            elif sharpness is not None:
                _check_sharpness(sharpness)
                scores = scores * sharpness
            return scores.softmax(-1)

    def recall(self, state: MemoryState, weights: Tensor) -> tuple[Tensor, MemoryState]:
        """Read with given weights, (batch, reads, slots), eqs. (MANN.5), (MANN.6); returns what `read` does."""
        self.check(state)
        memory, _, usage = state
        _check_tensor("weights", weights, (len(memory), self.reads, self.slots), memory)
        with _no_autocast(memory.device):
            return torch.bmm(weights, memory), MemoryState(memory, weights, usage.detach() + weights.detach().sum(1))

    def read(
        self, state: MemoryState, keys: Tensor, sharpness: Tensor | float | None = None
    ) -> tuple[Tensor, MemoryState]:
        """Read with every key, eqs. (MANN.3) to (MANN.6).

        Args: as for `address`.
        Returns: the vectors read, (batch, reads, width), and the state with these weights and their usage.
        """
        read, state = self.recall(state, self.address(state, keys, sharpness))
        return _cast(read, keys.dtype), state

    @torch.no_grad()
    def _least_used(self, usage: Tensor) -> Tensor:
        """One at the least used slot, one at the next, and so on: (batch, ranks, slots)."""
        count = self.writes if self.targets == "own" else self.reads
        # topk leaves open which of equal ones it takes.
        slots = usage.argmin(-1, keepdim=True) if count == 1 else usage.sort(dim=-1, stable=True).indices[:, :count]
        if self.ties == "all":
            return (usage.unsqueeze(1) == usage.gather(-1, slots).unsqueeze(-1)).to(usage.dtype)
        return usage.new_zeros(*slots.shape, self.slots).scatter(-1, slots.unsqueeze(-1), 1.0)

    def _of_heads(self, marked: Tensor) -> Tensor:
        return marked if self.targets == "own" else marked.amax(1, keepdim=True).expand(-1, self.writes, -1)

    def check(self, state: object, batch: int | str = "batch", like: Tensor | None = None) -> None:
        """Refuse a state that is not of such a memory, for a batch of this size, of like's dtype and device."""
        sizes = {"memory": (self.slots, self.width), "weights": (self.reads, self.slots), "usage": (self.slots,)}
        _check_state(state, MemoryState, sizes, batch, like)


class TuringMemory(nn.Module):
    """The memory of the Neural Turing Machine (Graves, Wayne, Danihelka 2014): addressed by content and by place.

    Heads are told their keys, (batch, heads, width); their strength, positive, their gate, the share of the content in
    [0, 1], and their power, at least one, all (batch, heads, 1); a distribution over shifts by −1, 0, 1, (batch,
    heads, 3).

    Args: slots, width, reads, writes: of any size from one.
    """

    def __init__(self, slots: int = 128, width: int = 40, reads: int = 4, *, writes: int = 1) -> None:
        super().__init__()
        _check_sizes(slots=slots, width=width, reads=reads, writes=writes)
        self.slots, self.width, self.reads, self.writes = slots, width, reads, writes

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        return _named(self, "slots", "width", "reads", "writes")

    def initial_state(self, batch: int, *, device: Device = None, dtype: torch.dtype | None = None) -> TuringState:
        """An empty memory, all heads at the first slot; in float32 at least."""
        memory = torch.zeros(batch, self.slots, self.width, device=device, dtype=_wide(dtype))
        weights = memory.new_zeros(batch, self.reads + self.writes, self.slots)
        weights[..., 0] = 1.0
        return TuringState(memory, weights)

    def address(
        self, memory: Tensor, before: Tensor, keys: Tensor, strength: Tensor, gate: Tensor, shift: Tensor, power: Tensor
    ) -> Tensor:
        """Weights of heads, (batch, heads, slots), eq. (MANN.24); before: those of the step before."""
        content = (strength * cosine_similarity(keys, memory)).softmax(-1)
        mixed = torch.lerp(before, content, gate)
        back, stay, on = shift.split(1, -1)
        moved = back * mixed.roll(-1, -1) + stay * mixed + on * mixed.roll(1, -1)
        # moved ** power could underflow for all slots at once.
        weights: Tensor = (power * (moved + EPSILON).log()).softmax(-1)
        return weights

    def write(self, state: TuringState, erase: Tensor, contents: Tensor, **heads: Tensor) -> TuringState:
        """Erase, then add, head by head; erase, in [0, 1], and contents: (batch, writes, width)."""
        memory, before = state
        weights = self.address(memory, before[:, self.reads :], **heads)
        for weight, share in zip(weights.unbind(1), erase.unbind(1), strict=True):
            memory = memory * (1 - weight.unsqueeze(-1) * share.unsqueeze(1))
        memory = torch.baddbmm(memory, weights.mT, contents)
        return TuringState(memory, torch.cat((before[:, : self.reads], weights), 1))

    def read(self, state: TuringState, **heads: Tensor) -> tuple[Tensor, TuringState]:
        """The vectors that the read heads read, (batch, reads, width), and the state after."""
        memory, before = state
        weights = self.address(memory, before[:, : self.reads], **heads)
        return torch.bmm(weights, memory), TuringState(memory, torch.cat((weights, before[:, self.reads :]), 1))

    def check(self, state: object, batch: int | str = "batch", like: Tensor | None = None) -> None:
        """Refuse a state that is not of such a memory, for a batch of this size, of like's dtype and device."""
        sizes = {"memory": (self.slots, self.width), "weights": (self.reads + self.writes, self.slots)}
        _check_state(state, TuringState, sizes, batch, like)


class MemoryAugmentedNetwork(nn.Module):
    """A controller that writes to and reads from an external memory at every step.

    One step: the controller takes the input and what was read last; its output gives keys, gate and contents; the
    memory is written, then read; output = W [h, r] + b (eqs. (MANN.10) to (MANN.12)).

    Args:
        input_size, output_size: of one step.
        controller: "lstm", or "feedforward" with one rectified layer.
        hidden_size: units of the controller.
        slots, width, reads, writes, decay, erase, targets, ties: see `LeastRecentlyUsedMemory`.
        gate: the paper's α is "a scalar gate parameter". "controller": emitted at every step, one a write head, since
            when to write anew depends on the input; "learned": a constant.
        write_content: "key", as in eq. 8 of the paper: write head j writes the key of read head j; "separate": a
            vector of its own, as in most code.
        sharpness: factor on the cosine. None: one, as in eq. 3 of the paper; a positive number; "learned": emitted by
            the controller for every read head, 1 + softplus.
        order: "write", as the equations say: read weights come from the memory after the write; "address": from the
            memory before it.
        addressing: "lru", or "ntm" for that of the Neural Turing Machine, to compare. "ntm" refuses any but the
            default of decay, erase, targets, ties, gate, write_content, sharpness and order, which it has no use for.
        feedback: whether the controller sees what was read last.
        device, dtype: of the parameters, as for torch's layers.
    Shape: input (time, batch, input_size) → output (time, batch, output_size).
    Half precision: the memory, its weights and usage are in float32; all else is of the parameters' dtype. Autocast
        changes nothing but what dtypes may come in.
    Raises: ValueError, TypeError: an argument outside what is listed.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        controller: Controller = "lstm",
        hidden_size: int = 200,
        slots: int = 128,
        width: int = 40,
        reads: int = 4,
        writes: int = 1,
        decay: float = 0.95,
        erase: bool = True,
        targets: Targets = "own",
        ties: Ties = "first",
        gate: Gate = "controller",
        write_content: Content = "key",
        sharpness: float | Literal["learned"] | None = None,
        order: Order = "write",
        addressing: Addressing = "lru",
        feedback: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(input_size=input_size, output_size=output_size, hidden_size=hidden_size)
        _check_choice("controller", controller, Controller)
        _check_choice("gate", gate, Gate)
        _check_choice("write_content", write_content, Content)
        _check_choice("order", order, Order)
        _check_choice("addressing", addressing, Addressing)
        if sharpness is not None and sharpness != "learned":
            _check_sharpness(sharpness)
        self.input_size, self.output_size, self.hidden_size = input_size, output_size, hidden_size
        self.controller, self.gate, self.write_content = controller, gate, write_content
        self.sharpness, self.order, self.addressing, self.feedback = sharpness, order, addressing, feedback
        options: dict[str, Any] = {"decay": decay, "erase": erase, "targets": targets, "ties": ties}
        self.memory: LeastRecentlyUsedMemory | TuringMemory
        if addressing == "lru":
            self.memory = LeastRecentlyUsedMemory(slots, width, reads, writes=writes, **options)
            sizes = {"keys": reads * width}
            if gate == "controller":
                sizes["gate"] = writes
            if write_content == "separate":
                sizes["contents"] = writes * width
            if sharpness == "learned":
                sizes["sharpness"] = reads
        else:
            options |= {"gate": gate, "write_content": write_content, "sharpness": sharpness, "order": order}
            defaults = (0.95, True, "own", "first", "controller", "key", None, "write")
            for (name, value), default in zip(options.items(), defaults, strict=True):
                if value != default:
                    raise ValueError(f"{name}={value!r} plays no part under addressing='ntm', leave it {default!r}")
            heads = reads + writes
            self.memory = TuringMemory(slots, width, reads, writes=writes)
            sizes = {"keys": heads * width, "strength": heads, "gate": heads, "shift": SHIFTS * heads, "power": heads}
            sizes |= {"erase": writes * width, "contents": writes * width}
        self.head_sizes = sizes

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape, device=device, dtype=dtype))

        rows = 4 * hidden_size if controller == "lstm" else hidden_size
        self.weight_ih = parameter(rows, input_size)
        self.weight_rh = parameter(rows, reads * width)
        self.weight_hh = parameter(rows, hidden_size) if controller == "lstm" else None
        self.bias = parameter(rows)
        self.heads = nn.Linear(hidden_size, sum(sizes.values()), device=device, dtype=dtype)
        self.output = nn.Linear(hidden_size + reads * width, output_size, device=device, dtype=dtype)
        self.write_gate = parameter(writes) if gate == "learned" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as torch's LSTM and linear layers do, but wider for the heads and for what sees the reads."""
        bound = self.hidden_size**-0.5
        for weight in (self.weight_ih, self.weight_rh, self.weight_hh, self.bias):
            if weight is not None:
                nn.init.uniform_(weight, -bound, bound)
        self.heads.reset_parameters()
        self.output.reset_parameters()
        with torch.no_grad():
            self.heads.weight.mul_(HEAD_GAIN)
            self.weight_rh.mul_(READ_GAIN)
            self.output.weight[:, self.hidden_size :].mul_(READ_GAIN)
        if self.write_gate is not None:
            nn.init.zeros_(self.write_gate)

    def extra_repr(self) -> str:
        """The arguments that are not the memory's, for `print(model)`."""
        controller = ("input_size", "output_size", "controller", "hidden_size", "feedback")
        return _named(self, *controller, "addressing", "gate", "write_content", "sharpness", "order")

    def initial_state(self, batch: int) -> NetworkState:
        """The state before an episode: an empty memory, all else zero."""
        like = self.bias
        memory = self.memory.initial_state(batch, device=like.device, dtype=like.dtype)
        zeros = like.new_zeros(batch, self.hidden_size)
        return NetworkState(zeros, zeros, like.new_zeros(batch, self.weight_rh.shape[1]), memory)

    def forward(self, input: Tensor, state: NetworkState | None = None) -> tuple[Tensor, NetworkState]:
        """Run over a sequence, or over the next piece of one.

        Args:
            input: (time, batch, input_size), time at least 1, of the parameters' dtype and device; under autocast
                also of a narrower dtype.
            state: what the piece before returned; None at the start.
        Returns: the outputs, (time, batch, output_size), and the state after the last step.
        Raises: ValueError, TypeError: another shape, dtype or device than these; a state that does not fit.
        """
        self._check_input(input, state)
        hidden, cell, read, memory = self.initial_state(input.shape[1]) if state is None else state
        access: Callable[..., tuple[Tensor, Any]] = self._lru if self.addressing == "lru" else self._ntm
        recurrent = self.weight_rh if self.weight_hh is None else torch.cat((self.weight_hh, self.weight_rh), 1)
        recurrent, heads = recurrent.t(), self.heads.weight.t()
        outputs = []
        with _no_autocast(input.device):
            projected = F.linear(_cast(input, self.bias.dtype), self.weight_ih, self.bias)  # all steps at once
            for x in projected.unbind(0):
                seen = read if self.feedback else torch.zeros_like(read)
                if self.weight_hh is None:
                    hidden = torch.addmm(x, seen, recurrent).relu()
                else:
                    gates = torch.addmm(x, torch.cat((hidden, seen), 1), recurrent)
                    sigmoids, candidate = gates.split((3 * self.hidden_size, self.hidden_size), 1)
                    i, f, o = sigmoids.sigmoid().chunk(3, 1)
                    cell = torch.addcmul(f * cell, i, candidate.tanh())
                    hidden = o * cell.tanh()
                parts = torch.addmm(self.heads.bias, hidden, heads).split(tuple(self.head_sizes.values()), 1)
                wide = (_cast(part, _wide(part.dtype)) for part in parts)
                vectors, memory = access(self.memory, memory, **dict(zip(self.head_sizes, wide, strict=True)))
                read = _cast(vectors.flatten(1), hidden.dtype)
                outputs.append(torch.cat((hidden, read), 1))
            return self.output(torch.stack(outputs)), NetworkState(hidden, cell, read, memory)

    def _lru(
        self, memory: LeastRecentlyUsedMemory, state: MemoryState, **emitted: Tensor
    ) -> tuple[Tensor, MemoryState]:
        """A write and a read as the heads tell, eq. (MANN.11)."""
        keys = emitted["keys"].tanh().unflatten(1, (memory.reads, memory.width))
        gate = emitted["gate"] if self.write_gate is None else self.write_gate.expand(len(keys), -1)
        separate = self.write_content == "separate"
        contents = emitted["contents"].tanh().unflatten(1, (memory.writes, memory.width)) if separate else keys
        sharpness = 1 + F.softplus(emitted["sharpness"]) if self.sharpness == "learned" else self.sharpness
        before = memory.address(state, keys, sharpness) if self.order == "address" else None
        state = memory.write(state, contents[:, : memory.writes], gate.sigmoid())
        return memory.recall(state, memory.address(state, keys, sharpness) if before is None else before)

    def _ntm(
        self, memory: TuringMemory, state: TuringState, *, erase: Tensor, contents: Tensor, **emitted: Tensor
    ) -> tuple[Tensor, TuringState]:
        """A write and a read as the heads tell; of what they emit, the read heads' come first."""
        heads = {name: part.unflatten(1, (memory.reads + memory.writes, -1)) for name, part in emitted.items()}
        heads = {
            "keys": heads["keys"].tanh(),
            "strength": F.softplus(heads["strength"]),
            "gate": heads["gate"].sigmoid(),
            "shift": heads["shift"].softmax(-1),
            "power": 1 + F.softplus(heads["power"]),
        }
        written = (part.unflatten(1, (memory.writes, -1)) for part in (erase.sigmoid(), contents.tanh()))
        state = memory.write(state, *written, **{name: part[:, memory.reads :] for name, part in heads.items()})
        return memory.read(state, **{name: part[:, : memory.reads] for name, part in heads.items()})

    def _check_input(self, input: Tensor, state: NetworkState | None) -> None:
        like, device = self.bias, self.bias.device.type
        autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        _check_tensor("input", input, ("time", "batch", self.input_size), like, narrower=autocast)
        if len(input) == 0:
            raise ValueError(f"input needs at least one time step, got shape {tuple(input.shape)}")
        if state is None:
            return
        sizes = {"hidden": (self.hidden_size,), "cell": (self.hidden_size,), "read": (self.weight_rh.shape[1],)}
        _check_state(state, NetworkState, sizes, input.shape[1], like)
        self.memory.check(state.memory, input.shape[1], like.new_empty(0, dtype=_wide(like.dtype)))


def _wide(dtype: torch.dtype | None) -> torch.dtype:
    return torch.promote_types(torch.get_default_dtype() if dtype is None else dtype, torch.float32)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype == dtype else tensor.to(dtype)  # `to` costs a microsecond where nothing is to do


def _no_autocast(device: torch.device) -> AbstractContextManager[object]:
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _named(module: nn.Module, *names: str) -> str:
    return ", ".join(f"{name}={getattr(module, name)!r}" for name in names)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool):
            raise TypeError(f"{name} must be an int, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def _check_choice(name: str, choice: str, choices: Any) -> None:
    if choice not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {choice!r}")


def _check_number(name: str, value: float, fits: Callable[[float], bool], expected: str) -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not fits(value):
        raise ValueError(f"{name} must {expected}, got {value}")


def _check_sharpness(sharpness: float) -> None:
    _check_number("sharpness", sharpness, lambda value: 0 < value < math.inf, "be positive and finite")


def _check_state(
    state: object, kind: type, sizes: Mapping[str, tuple[int, ...]], batch: int | str, like: Tensor | None
) -> None:
    """Refuse another type, and parts of other shapes, dtype or device than like's, or the first part's."""
    if not isinstance(state, kind):
        raise TypeError(f"state must be a {kind.__name__}, got {type(state).__name__}")
    for name, size in sizes.items():
        part = getattr(state, name)
        _check_tensor(f"state.{name}", part, (batch, *size), like)
        batch, like = len(part), part


def _check_tensor(
    name: str, tensor: Tensor, sizes: tuple[int | str, ...], like: Tensor | None = None, *, narrower: bool = False
) -> None:
    """Refuse another rank, another size where `sizes` holds a number, another device or dtype than like's."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    fits = tensor.dim() == len(sizes) and all(
        want == have for want, have in zip(sizes, tensor.shape, strict=True) if not isinstance(want, str)
    )
    if not fits:
        raise ValueError(f"{name} must have shape ({', '.join(map(str, sizes))}), got {tuple(tensor.shape)}")
    if like is None:
        return
    if tensor.device != like.device:
        raise ValueError(f"{name} is on {tensor.device}, expected {like.device}")
    if tensor.dtype != like.dtype:
        narrow = tensor.is_floating_point() and torch.promote_types(tensor.dtype, like.dtype) == like.dtype
        if not (narrower and narrow):
            raise TypeError(f"{name} is {tensor.dtype}, expected {like.dtype}")

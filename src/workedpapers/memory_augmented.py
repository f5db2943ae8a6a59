"""A network with an external memory that overwrites what was used least, for learning from a few examples.

Santoro, Bartunov, Botvinick, Wierstra, Lillicrap, "One-shot Learning with Memory-Augmented Neural Networks", 2016
(arXiv 1605.06065). Equation tags are those of the chapter `notebooks/memory_augmented`.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Controller = Literal["lstm", "feedforward"]
Gate = Literal["controller", "learned"]
Content = Literal["key", "separate"]
Addressing = Literal["lru", "ntm"]
Targets = Literal["own", "shared"]
Ties = Literal["first", "all"]
Order = Literal["write", "address"]

EPSILON = 1e-8  # in squared norms: a slot of zeros is orthogonal to every key
HEAD_GAIN, READ_GAIN = 3.0, 4.0  # of starting weights: a read is nearly a mean over slots, and small
SHIFTS = 3  # places that a Turing head can shift by: −1, 0, 1


class MemoryState(NamedTuple):
    """What a memory holds.

    Attributes:
        memory: (batch, slots, width).
        weights: of the last read, and, under "ntm" addressing, of the write heads after them: (batch, heads, slots).
        usage: (batch, slots); without gradient.
    """

    memory: Tensor
    weights: Tensor
    usage: Tensor


class NetworkState(NamedTuple):
    """What a `MemoryAugmentedNetwork` carries from one step to the next.

    Attributes:
        hidden, cell: of the controller, (batch, hidden_size); cell stays zero under a feed-forward controller.
        read: what was read last, (batch, reads · width).
        memory: a `MemoryState`.
    """

    hidden: Tensor
    cell: Tensor
    read: Tensor
    memory: MemoryState


def cosine_similarity(keys: Tensor, memory: Tensor) -> Tensor:
    """Cosine of the angle between every key and every slot, eq. (MANN.3).

    Args: keys: (batch, heads, width); memory: (batch, slots, width).
    Returns: (batch, heads, slots); near zero where a key or a slot is zero.
    """
    keys = keys * torch.rsqrt(keys.square().sum(-1, keepdim=True) + EPSILON)
    return keys @ memory.mT * torch.rsqrt(memory.square().sum(-1) + EPSILON).unsqueeze(1)


class LeastRecentlyUsedMemory(nn.Module):
    """A memory whose writes go to the slots just read or to those used least (eqs. 2-8 of the paper).

    Args:
        slots, width: N slots of so many numbers.
        reads: read heads.
        writes: write heads, at most as many as read heads; head j writes where read head j has read, or to a least
            used slot.
        decay: γ, of the usage, in [0, 1].
        erase: whether the least used slot is set to zero before the write.
        targets: "own": write head j has the j-th least used slot; "shared": all write to the `reads` least used, as
            eq. 6 of the paper is printed.
        ties: "first": exactly as many least used slots as are asked for; "all": every slot as little used as the last.
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
        self.slots, self.width, self.reads, self.writes = slots, width, reads, writes
        self.decay, self.erase, self.targets, self.ties = decay, erase, targets, ties

    def initial_state(
        self, batch: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> MemoryState:
        """An empty memory: zeros, never read, never used."""
        memory = torch.zeros(batch, self.slots, self.width, device=device, dtype=dtype)
        return MemoryState(memory, memory.new_zeros(batch, self.reads, self.slots), memory.new_zeros(memory.shape[:2]))

    @torch.no_grad()
    def least_used(self, usage: Tensor) -> Tensor:
        """One at the slots that write heads may overwrite, eq. (MANN.7).

        Args: usage: (batch, slots).
        Returns: (batch, writes, slots).
        """
        count = self.writes if self.targets == "own" else self.reads
        slots = usage.topk(count, largest=False).indices  # the least used first
        if self.ties == "all":
            marked = [usage <= usage.gather(-1, slot.unsqueeze(-1)) for slot in slots.unbind(-1)]
            places = torch.stack(marked, 1).to(usage.dtype)
        else:
            places = usage.new_zeros(*slots.shape, self.slots).scatter_(-1, slots.unsqueeze(-1), 1.0)
        if self.targets == "own":
            return places
        return places.amax(1, keepdim=True).expand(-1, self.writes, -1)

    def write(self, state: MemoryState, contents: Tensor, gate: Tensor) -> MemoryState:
        """Write to the slots last read, or to the least used ones, eqs. (MANN.8), (MANN.9).

        Args:
            state: before.
            contents: (batch, writes, width).
            gate: share that goes to where the read head of the same number has read last, in [0, 1]; (batch, writes).
        Returns: the state after, its usage decayed and with these writes.
        """
        memory, weights, usage = state
        least = self.least_used(usage)
        places = torch.lerp(least, weights[:, : self.writes], gate.unsqueeze(-1))
        if self.erase:
            memory = memory.masked_fill(least[:, :1].mT > 0 if self.targets == "own" else _first(usage), 0.0)
        memory = torch.baddbmm(memory, places.mT, contents)
        return MemoryState(memory, weights, (self.decay * usage).add_(places.detach().sum(1)))

    def address(self, state: MemoryState, keys: Tensor, sharpness: Tensor | float | None = None) -> Tensor:
        """Read weights, eq. (MANN.4): the softmax over slots of sharpness times the cosine.

        Args: keys: (batch, reads, width); sharpness: a number, or (batch, reads); None: one, as in the paper.
        Returns: (batch, reads, slots).
        """
        scores = cosine_similarity(keys, state.memory)
        if sharpness is not None:
            scores = scores * (sharpness.unsqueeze(-1) if isinstance(sharpness, Tensor) else sharpness)
        return scores.softmax(-1)

    def recall(self, state: MemoryState, weights: Tensor) -> tuple[Tensor, MemoryState]:
        """Read with given weights, (batch, reads, slots), eq. (MANN.5); see `read`."""
        usage = state.usage + weights.detach().sum(1)
        return weights @ state.memory, MemoryState(state.memory, weights, usage)

    def read(
        self, state: MemoryState, keys: Tensor, sharpness: Tensor | float | None = None
    ) -> tuple[Tensor, MemoryState]:
        """Read with every key, eqs. (MANN.3) to (MANN.6).

        Args: as for `address`.
        Returns: the vectors read, (batch, reads, width), and the state with these weights and their usage.
        """
        return self.recall(state, self.address(state, keys, sharpness))


class TuringMemory(nn.Module):
    """The addressing of the Neural Turing Machine (Graves, Wayne, Danihelka 2014): by content and by place.

    Args: slots, width, reads, writes: as of `LeastRecentlyUsedMemory`.
    """

    def __init__(self, slots: int = 128, width: int = 40, reads: int = 4, *, writes: int = 1) -> None:
        super().__init__()
        self.slots, self.width, self.reads, self.writes = slots, width, reads, writes

    def initial_state(
        self, batch: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> MemoryState:
        """An empty memory, all heads at the first slot."""
        memory = torch.zeros(batch, self.slots, self.width, device=device, dtype=dtype)
        weights = memory.new_zeros(batch, self.reads + self.writes, self.slots)
        weights[..., 0] = 1.0
        return MemoryState(memory, weights, memory.new_zeros(memory.shape[:2]))

    def address(
        self, memory: Tensor, before: Tensor, keys: Tensor, strength: Tensor, gate: Tensor, shift: Tensor, power: Tensor
    ) -> Tensor:
        """Weights of heads, (batch, heads, slots).

        Args:
            memory: (batch, slots, width); before: the weights of the step before, (batch, heads, slots).
            keys: (batch, heads, width); strength, gate, power: (batch, heads, 1), positive, in [0, 1], at least one.
            shift: distribution over shifts by −1, 0 and 1, (batch, heads, 3).
        """
        content = (strength * cosine_similarity(keys, memory)).softmax(-1)
        mixed = torch.lerp(before, content, gate)
        moved = sum(mixed.roll(step - 1, -1) * shift[..., step : step + 1] for step in range(SHIFTS))
        powered = (moved + EPSILON) ** power
        return powered / powered.sum(-1, keepdim=True)


def _first(usage: Tensor) -> Tensor:
    """The least used slot, as a mask (batch, slots, 1)."""
    least = usage.argmin(-1, keepdim=True)
    return torch.zeros_like(usage, dtype=torch.bool).scatter_(-1, least, True).unsqueeze(-1)


class MemoryAugmentedNetwork(nn.Module):
    """A controller that writes to and reads from an external memory at every step.

    One step: the controller takes the input and what was read last; its output gives keys, gate and contents; the
    memory is written, then read; output = W [h, r] + b (eqs. (MANN.10) to (MANN.12)).

    Args:
        input_size, output_size: of one step.
        controller: "lstm", or "feedforward" with one rectified layer.
        hidden_size: units of the controller.
        slots, width, reads, writes, decay, erase, targets, ties: of the memory.
        gate: whether the controller emits the write gate, or it is a learned constant.
        write_content: "key": a write head writes the key of the read head of its number; "separate": a vector of its
            own.
        sharpness: factor on the cosine; None: one, as in the paper; "learned": emitted by the controller, 1 + softplus.
        order: "write": read weights come from the memory after the write; "address": from the memory before it.
        addressing: "lru", or "ntm" for that of the Neural Turing Machine.
        feedback: whether the controller sees what was read last.
    Shape: input (time, batch, input_size) → output (time, batch, output_size).
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
    ) -> None:
        super().__init__()
        self.input_size, self.output_size, self.hidden_size = input_size, output_size, hidden_size
        self.controller, self.gate, self.write_content = controller, gate, write_content
        self.sharpness, self.order, self.addressing, self.feedback = sharpness, order, addressing, feedback
        self.memory: LeastRecentlyUsedMemory | TuringMemory
        if addressing == "lru":
            self.memory = LeastRecentlyUsedMemory(
                slots, width, reads, writes=writes, decay=decay, erase=erase, targets=targets, ties=ties
            )
            sizes = {"keys": reads * width}
            if gate == "controller":
                sizes["gate"] = writes
            if write_content == "separate":
                sizes["contents"] = writes * width
            if sharpness == "learned":
                sizes["sharpness"] = reads
        else:
            heads = reads + writes
            self.memory = TuringMemory(slots, width, reads, writes=writes)
            sizes = {"keys": heads * width, "strength": heads, "gate": heads, "shift": SHIFTS * heads, "power": heads}
            sizes |= {"erase": writes * width, "contents": writes * width}
        self.head_sizes = sizes
        rows = 4 * hidden_size if controller == "lstm" else hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_rh = nn.Parameter(torch.empty(rows, reads * width))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size)) if controller == "lstm" else None
        self.bias = nn.Parameter(torch.empty(rows))
        self.heads = nn.Linear(hidden_size, sum(sizes.values()))
        self.output = nn.Linear(hidden_size + reads * width, output_size)
        self.write_gate = nn.Parameter(torch.empty(writes)) if addressing == "lru" and gate == "learned" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as torch's LSTM and linear layers do, but 3 times as wide for the heads, 4 times for what sees the reads."""
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

    def initial_state(self, batch: int) -> NetworkState:
        """The state before an episode: an empty memory, all else zero."""
        like = self.bias
        memory = self.memory.initial_state(batch, device=like.device, dtype=like.dtype)
        zeros = like.new_zeros(batch, self.hidden_size)
        return NetworkState(zeros, zeros, like.new_zeros(batch, self.memory.reads * self.memory.width), memory)

    def forward(self, input: Tensor, state: NetworkState | None = None) -> tuple[Tensor, NetworkState]:
        """Run over a sequence, or over the next piece of one.

        Args: input: (time, batch, input_size); state: what the piece before returned; None at the start.
        Returns: the outputs, (time, batch, output_size), and the state after the last step.
        """
        hidden, cell, read, memory = self.initial_state(input.shape[1]) if state is None else state
        projected = F.linear(input, self.weight_ih, self.bias)  # all steps at once
        recurrent = self.weight_rh if self.weight_hh is None else torch.cat((self.weight_hh, self.weight_rh), 1)
        recurrent, heads = recurrent.t(), self.heads.weight.t()
        outputs = []
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
            emitted = dict(zip(self.head_sizes, parts, strict=True))
            read, memory = self._lru(emitted, memory) if self.addressing == "lru" else self._ntm(emitted, memory)
            outputs.append(torch.cat((hidden, read), 1))
        return self.output(torch.stack(outputs)), NetworkState(hidden, cell, read, memory)

    def _lru(self, emitted: dict[str, Tensor], state: MemoryState) -> tuple[Tensor, MemoryState]:
        memory = self.memory
        assert isinstance(memory, LeastRecentlyUsedMemory)
        keys = emitted["keys"].tanh().unflatten(1, (memory.reads, memory.width))
        gate = emitted["gate"].sigmoid() if self.write_gate is None else self.write_gate.sigmoid().expand(len(keys), -1)
        if self.write_content == "key":
            contents = keys[:, : memory.writes]
        else:
            contents = emitted["contents"].tanh().unflatten(1, (memory.writes, memory.width))
        sharpness = 1 + F.softplus(emitted["sharpness"]) if self.sharpness == "learned" else self.sharpness
        if self.order == "address":
            weights = memory.address(state, keys, sharpness)
            read, state = memory.recall(memory.write(state, contents, gate), weights)
        else:
            read, state = memory.read(memory.write(state, contents, gate), keys, sharpness)
        return read.flatten(1), state

    def _ntm(self, emitted: dict[str, Tensor], state: MemoryState) -> tuple[Tensor, MemoryState]:
        memory = self.memory
        assert isinstance(memory, TuringMemory)
        reads, writes, heads = memory.reads, memory.writes, memory.reads + memory.writes
        keys = emitted["keys"].tanh().unflatten(1, (heads, memory.width))
        strength = F.softplus(emitted["strength"]).unsqueeze(-1)
        gate = emitted["gate"].sigmoid().unsqueeze(-1)
        shift = emitted["shift"].unflatten(1, (heads, SHIFTS)).softmax(-1)
        power = 1 + F.softplus(emitted["power"]).unsqueeze(-1)
        erase = emitted["erase"].sigmoid().unflatten(1, (writes, memory.width))
        contents = emitted["contents"].tanh().unflatten(1, (writes, memory.width))

        def weights(rows: Tensor, part: slice) -> Tensor:
            chosen = (value[:, part] for value in (state.weights, keys, strength, gate, shift, power))
            return memory.address(rows, *chosen)

        write = weights(state.memory, slice(reads, None))
        rows = state.memory
        for head in range(writes):
            rows = rows * (1 - write[:, head].unsqueeze(-1) * erase[:, head].unsqueeze(1))
        rows = torch.baddbmm(rows, write.mT, contents)
        read = weights(rows, slice(reads))
        return (read @ rows).flatten(1), MemoryState(rows, torch.cat((read, write), 1), state.usage)

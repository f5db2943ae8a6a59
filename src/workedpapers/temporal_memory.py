"""Generative models of sequences whose latents are kept in a memory and read again.

Gemici, Hung, Santoro, Wayne, Mohamed, Rezende, Amos, Lillicrap, "Generative Temporal Models with Memory", 2017 (arXiv
1702.04649). Equation tags are those of the chapter `notebooks/temporal_memory`. The text of the paper was not at hand:
what is uncertain is an argument, and sizes and tasks are this book's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.memory_augmented import (
    SHIFTS,
    LeastRecentlyUsedMemory,
    MemoryState,
    TuringMemory,
    TuringState,
    _cast,
    _check_choice,
    _check_sizes,
    _check_tensor,
    _no_autocast,
    cosine_similarity,
)

Likelihood = Literal["bernoulli", "gaussian", "categorical"]
Carry = Literal["sample", "mean", "code", "both"]
Addressing = Literal["lag", "content", "both"]

FLOOR = 1e-4  # of standard deviations
ONE = math.log(math.e - 1)  # softplus(ONE) = 1
#: Added to the first biases of a Turing memory's heads: it begins by writing slot after slot and reading by content.
TAPE = {"gate": [-3.0], "shift": [0.0, 0.0, 4.0]}
LOOK_UP = {"strength": [3.0], "gate": [3.0], "shift": [0.0, 3.0, 0.0]}


class Normal(NamedTuple):
    """A normal distribution with independent components.

    Attributes: mean, deviation: of one shape; deviations are positive.
    """

    mean: Tensor
    deviation: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Mean plus deviation times standard normal noise, of the same shape, eq. (GTM.6)."""
        return torch.addcmul(self.mean, self.deviation, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats, summed over the last dimension."""
        scaled = (z - self.mean) / self.deviation
        return -(0.5 * scaled.square() + self.deviation.log() + 0.5 * math.log(2 * math.pi)).sum(-1)


class Bound(NamedTuple):
    """The bound on ln p(x), frame by frame, in nats; each (time, batch).

    Attributes: reconstruction: ln p(x_t | z, past); kl: of the posterior of z_t from its prior. total, their
        difference, summed over time is at most ln p(x) on average, eq. (GTM.4).
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


def kl_normal(q: Normal, p: Normal) -> Tensor:
    """Kullback-Leibler divergence of q from p in nats, summed over the last dimension, eq. (GTM.7)."""
    ratio = q.deviation / p.deviation
    apart = (q.mean - p.mean) / p.deviation
    return 0.5 * (ratio.square() + apart.square() - 1 - 2 * ratio.log()).sum(-1)


class Recurrent(nn.Module):
    """No memory but the controller's own state: with `carry="both"` a variational recurrent network (VRNN).

    Every memory takes the controller, (batch, hidden_size), and writes what is carried, (batch, width). Its state is in
    float32 or wider; nothing in it is changed in place. A memory of your own sets `reads` and `read_width`, and has the
    three methods below.

    Args: hidden_size: units of the controller; width: of what is carried from one frame to the next.
    Raises: ValueError, TypeError: a size that is no int of at least one.
    """

    reads = 0

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        _check_sizes(hidden_size=hidden_size, width=width)
        self.hidden_size, self.width, self.read_width = hidden_size, width, 0

    def reset(self, batch: int) -> Any:
        """The state before a sequence."""
        return ()

    def write(self, state: Any, hidden: Tensor, carried: Tensor) -> Any:
        """The state after one more vector, (batch, width), under a controller, (batch, hidden_size)."""
        return state

    def read(self, state: Any, hidden: Tensor) -> tuple[Tensor, Any]:
        """What is read, (batch, reads, read_width), and the state after."""
        return hidden.new_zeros(len(hidden), 0, 0), state


class Introspection(Recurrent):
    """The last L carried vectors as they are, read with weights that the controller emits, eqs. (GTM.9), (GTM.10).

    Args:
        hidden_size, width: see `Recurrent`.
        span: L, the vectors that are kept.
        reads: R, read heads.
        addressing: by "lag", as in the paper: a logit for each of the L places; by "content": key times row over
            √width; "both": the sum of the two. Places not yet written get no weight.
    Raises: ValueError, TypeError: an argument outside what is listed.
    """

    def __init__(
        self, hidden_size: int, width: int, span: int, reads: int = 1, *, addressing: Addressing = "lag"
    ) -> None:
        super().__init__(hidden_size, width)
        _check_sizes(span=span, reads=reads)
        _check_choice("addressing", addressing, Addressing)
        self.span, self.reads, self.read_width, self.addressing = span, reads, width, addressing
        self.lags = nn.Linear(hidden_size, reads * span) if addressing != "content" else None
        self.keys = nn.Linear(hidden_size, reads * width) if addressing != "lag" else None

    def reset(self, batch: int) -> Tensor:
        """No rows."""
        return _wide(next(self.parameters())).new_zeros(batch, 0, self.width)

    def write(self, state: Tensor, hidden: Tensor, carried: Tensor) -> Tensor:
        """The newest row before the others, of which the oldest of L goes, eq. (GTM.9)."""
        return torch.cat((_wide(carried).unsqueeze(1), state[:, : self.span - 1]), 1)

    def weights(self, state: Tensor, hidden: Tensor) -> Tensor:
        """Read weights, (batch, reads, rows), newest row first, eq. (GTM.10)."""
        rows = state.shape[1]
        scores: Any = 0.0
        if self.lags is not None:
            scores = scores + _wide(self.lags(hidden)).unflatten(1, (self.reads, self.span))[:, :, :rows]
        if self.keys is not None:
            keys = _wide(self.keys(hidden)).unflatten(1, (self.reads, self.width))
            scores = scores + torch.bmm(keys, state.mT) / math.sqrt(self.width)
        return cast(Tensor, scores.softmax(-1))

    def read(self, state: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Means of the rows, (batch, reads, width); zeros where there are none yet."""
        return torch.bmm(self.weights(state, hidden), state), state


class _Heads(nn.Module):
    """One linear layer whose outputs, in float32 or wider, are cut into named parts."""

    def __init__(self, inputs: int, **sizes: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.linear = nn.Linear(inputs, sum(sizes.values()))

    @torch.no_grad()
    def add(self, starts: Mapping[str, Sequence[float]]) -> None:
        """Add to the biases of parts, again and again to every head."""
        parts = dict(zip(self.sizes, self.linear.bias.split(tuple(self.sizes.values())), strict=True))
        for name, start in starts.items():
            parts[name] += torch.tensor(start).repeat(len(parts[name]) // len(start))

    def forward(self, hidden: Tensor, carried: Tensor | None = None) -> dict[str, Tensor]:
        if carried is not None:
            hidden = torch.cat((hidden, _cast(carried, hidden.dtype)), 1)
        parts = _wide(self.linear(hidden)).split(tuple(self.sizes.values()), 1)
        return dict(zip(self.sizes, parts, strict=True))


class LeastRecentlyUsed(Recurrent):
    """The memory of the MANN chapter: reads by content, writes over what was used least, see `LeastRecentlyUsedMemory`.

    Args: hidden_size, width: see `Recurrent`; slots, slot_width, reads: sizes of the memory; reads ≤ slots.
    Raises: ValueError, TypeError: a size outside what is listed.
    """

    def __init__(self, hidden_size: int, width: int, slots: int, slot_width: int, reads: int = 1) -> None:
        super().__init__(hidden_size, width)
        self.memory = LeastRecentlyUsedMemory(slots, slot_width, reads)
        self.reads, self.read_width = reads, slot_width
        self.write_heads = _Heads(hidden_size + width, contents=slot_width, gate=1)
        self.read_heads = _Heads(hidden_size, keys=reads * slot_width, sharpness=reads)

    def reset(self, batch: int) -> MemoryState:
        """Zeros, never used."""
        like = self.write_heads.linear.bias
        return self.memory.initial_state(batch, device=like.device, dtype=like.dtype)

    def write(self, state: MemoryState, hidden: Tensor, carried: Tensor) -> MemoryState:
        """To the slots just read, or to the one used least."""
        heads = self.write_heads(hidden, carried)
        return self.memory.write(state, heads["contents"].unsqueeze(1), heads["gate"].sigmoid())

    def read(self, state: MemoryState, hidden: Tensor) -> tuple[Tensor, MemoryState]:
        """Means of the slots, (batch, reads, slot_width), weighted by the cosine with a key."""
        heads = self.read_heads(hidden)
        keys = heads["keys"].unflatten(1, (self.reads, -1))
        return self.memory.read(state, keys, 1 + F.softplus(heads["sharpness"]))


class NeuralTuring(Recurrent):
    """The memory of the Neural Turing Machine (Graves, Wayne, Danihelka 2014), eqs. (GTM.21) to (GTM.23).

    Addressed by content, by interpolation and by shift, see `TuringMemory`.

    Args:
        hidden_size, width: see `Recurrent`.
        slots, slot_width, reads: sizes of the memory, which has one write head.
        tape: whether to begin as a tape: writing moves on by a slot, reading goes by content; else with torch's biases.
    Raises: ValueError, TypeError: a size that is no int of at least one.
    """

    def __init__(
        self, hidden_size: int, width: int, slots: int, slot_width: int, reads: int = 1, *, tape: bool = True
    ) -> None:
        super().__init__(hidden_size, width)
        self.memory = TuringMemory(slots, slot_width, reads)
        self.reads, self.read_width = reads, slot_width
        self.write_heads = _Heads(
            hidden_size + width, erase=slot_width, contents=slot_width, keys=slot_width, strength=1, gate=1,
            shift=SHIFTS, power=1,
        )  # fmt: skip
        self.read_heads = _Heads(
            hidden_size, keys=reads * slot_width, strength=reads, gate=reads, shift=reads * SHIFTS, power=reads
        )
        if tape:
            self.write_heads.add(TAPE)
            self.read_heads.add(LOOK_UP)

    def reset(self, batch: int) -> TuringState:
        """Zeros, all heads at the first slot."""
        like = self.write_heads.linear.bias
        return self.memory.initial_state(batch, device=like.device, dtype=like.dtype)

    @staticmethod
    def _addressed(heads: dict[str, Tensor], count: int) -> dict[str, Tensor]:
        heads = {name: part.unflatten(1, (count, -1)) for name, part in heads.items()}
        return {
            "keys": heads["keys"],
            "strength": F.softplus(heads["strength"]),
            "gate": heads["gate"].sigmoid(),
            "shift": heads["shift"].softmax(-1),
            "power": 1 + F.softplus(heads["power"]),
        }

    def write(self, state: TuringState, hidden: Tensor, carried: Tensor) -> TuringState:
        """Erase, then add."""
        heads = self.write_heads(hidden, carried)
        erase, contents = heads.pop("erase").sigmoid().unsqueeze(1), heads.pop("contents").unsqueeze(1)
        return self.memory.write(state, erase, contents, **self._addressed(heads, 1))

    def read(self, state: TuringState, hidden: Tensor) -> tuple[Tensor, TuringState]:
        """Means of the slots, (batch, reads, slot_width)."""
        return self.memory.read(state, **self._addressed(self.read_heads(hidden), self.reads))


class ComputerState(NamedTuple):
    """What a `DifferentiableNeuralComputer` holds.

    Attributes: memory: (batch, slots, slot_width); usage, written, precedence: (batch, slots), the last two the last
        write weights and their trace; link: (batch, slots, slots), [i, j] how far i was written after j; weights: of
        the last read, (batch, reads, slots).
    """

    memory: Tensor
    usage: Tensor
    written: Tensor
    precedence: Tensor
    link: Tensor
    weights: Tensor


class DifferentiableNeuralComputer(Recurrent):
    """The memory of Graves et al. 2016 (Nature 538): allocation by usage, and links in the order of writing.

    Eqs. (GTM.24) to (GTM.29).

    Args: hidden_size, width: see `Recurrent`; slots, slot_width, reads: sizes of the memory, which has one write head.
    Raises: ValueError, TypeError: a size that is no int of at least one.
    """

    def __init__(self, hidden_size: int, width: int, slots: int, slot_width: int, reads: int = 1) -> None:
        super().__init__(hidden_size, width)
        _check_sizes(slots=slots, slot_width=slot_width, reads=reads)
        self.slots, self.reads, self.read_width = slots, reads, slot_width
        self.write_heads = _Heads(
            hidden_size + width, contents=slot_width, erase=slot_width, key=slot_width, strength=1, free=reads,
            allocation=1, gate=1,
        )  # fmt: skip
        self.read_heads = _Heads(hidden_size, keys=reads * slot_width, strength=reads, modes=3 * reads)

    def reset(self, batch: int) -> ComputerState:
        """Zeros, nothing used, read or linked."""
        memory = _wide(self.write_heads.linear.bias).new_zeros(batch, self.slots, self.read_width)
        row = memory.new_zeros(batch, self.slots)
        link = memory.new_zeros(batch, self.slots, self.slots)
        return ComputerState(memory, row, row, row, link, memory.new_zeros(batch, self.reads, self.slots))

    def write(self, state: ComputerState, hidden: Tensor, carried: Tensor) -> ComputerState:
        """Free what was read, choose a slot by content or by usage, erase, add, link, eqs. (GTM.24) to (GTM.28)."""
        heads = self.write_heads(hidden, carried)
        kept = (1 - heads["free"].sigmoid().unsqueeze(-1) * state.weights).prod(1)
        usage = (state.usage + state.written - state.usage * state.written) * kept
        scores = (1 + F.softplus(heads["strength"])) * cosine_similarity(heads["key"].unsqueeze(1), state.memory)[:, 0]
        share = heads["allocation"].sigmoid()
        written = heads["gate"].sigmoid() * torch.lerp(scores.softmax(-1), allocation(usage), share)
        place = written.unsqueeze(-1)
        memory = state.memory * (1 - place * heads["erase"].sigmoid().unsqueeze(1))
        memory = memory + place * heads["contents"].unsqueeze(1)
        link = (1 - place - written.unsqueeze(1)) * state.link + place * state.precedence.unsqueeze(1)
        link = link * (1 - torch.eye(self.slots, dtype=link.dtype, device=link.device))
        precedence = (1 - written.sum(-1, keepdim=True)) * state.precedence + written
        return ComputerState(memory, usage, written, precedence, link, state.weights)

    def read(self, state: ComputerState, hidden: Tensor) -> tuple[Tensor, ComputerState]:
        """What was written before, at, or after the slots read last, (batch, reads, slot_width), eq. (GTM.29)."""
        heads = self.read_heads(hidden)
        keys = heads["keys"].unflatten(1, (self.reads, -1))
        strength = 1 + F.softplus(heads["strength"]).unsqueeze(-1)
        content = (strength * cosine_similarity(keys, state.memory)).softmax(-1)
        back, here, on = heads["modes"].unflatten(1, (self.reads, 3)).softmax(-1).split(1, -1)
        before = torch.bmm(state.weights, state.link)  # Lᵀ w, transposed
        after = torch.bmm(state.weights, state.link.mT)
        weights = back * before + here * content + on * after
        return torch.bmm(weights, state.memory), state._replace(weights=weights)


def allocation(usage: Tensor) -> Tensor:
    """Where the Differentiable Neural Computer writes next: the least used slot first, eq. (GTM.25).

    Args: usage: (…, slots), in [0, 1].
    Returns: (…, slots), of a sum of at most one.
    """
    ordered, slots = usage.sort(dim=-1, stable=True)
    used = torch.cat((torch.ones_like(ordered[..., :1]), ordered[..., :-1]), -1).cumprod(-1)
    return torch.zeros_like(usage).scatter(-1, slots, (1 - ordered) * used)


class _Weights(NamedTuple):
    """What the loop multiplies by, joined and transposed once a sequence: sigmoids first, candidates after them."""

    controller: Tensor
    bias: Tensor
    belief: Tensor
    posterior: Tensor


class _State(NamedTuple):
    """Between two frames: of the controller, of the memory, and the parts of what is carried; None before the first."""

    hidden: Tensor
    cell: Tensor
    memory: Any
    carried: tuple[Tensor, ...] | None
    weights: _Weights


class TemporalGenerativeModel(nn.Module):
    """A model of sequences with a latent for every frame and a memory of what was carried on, eqs. (GTM.1) to (GTM.11).

        model = TemporalGenerativeModel(64, 16, Introspection(96, 16, span=12))
        bound = model(x)                      # x: (time, batch, 64)
        (-bound.total.sum(0).mean()).backward()

    One step: the controller, an LSTM, takes what was carried from the frame before and the context of this one; the
    memory is written, then read; prior and posterior of z_t, and the frame given z_t, see the controller and the
    gated reads. Encoder and decoder run on all frames at once, as does the prior: only what feeds back is in the loop.
    Half precision, autocast: latents, memory, KL and likelihood are in float32 or wider; autocast reaches encoder and
    decoder alone. Nothing is kept from one call to the next.

    Args:
        observation: a frame's shape, or its size; for "categorical" the number of symbols.
        latent_size: entries of z.
        memory: one of the memories above; its width must be that of what is carried.
        likelihood: "bernoulli" for frames in [0, 1], "gaussian" for real ones, with a learned deviation for every
            entry; "categorical" for symbols, int64.
        carry: what controller and memory get of a frame: the "sample" of z, as in the paper; its posterior "mean";
            the encoder's "code"; "both" sample and code, as in a VRNN.
        context_size: entries of what is known of a frame beforehand, such as an action.
        code_size: units of the encoder, of the decoder and of the layers before prior and posterior.
        encoder: takes frames, (n, *observation), symbols as (n, symbols) of zeros and ones, to (n, code_size); None:
            two rectified layers.
        decoder: takes latents with what was read, (n, latent_size + psi_size), to logits or to means, (n,
            *observation); "gaussian": to twice as many, means and raw deviations, (n, 2, *observation).
    Raises: ValueError, TypeError: an argument outside what is listed; from encoder and decoder another shape.
    """

    def __init__(
        self,
        observation: int | Sequence[int],
        latent_size: int,
        memory: Recurrent,
        *,
        likelihood: Likelihood = "bernoulli",
        carry: Carry = "sample",
        context_size: int = 0,
        code_size: int = 64,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.observation = tuple(observation) if isinstance(observation, Sequence) else (observation,)
        _check_sizes(latent_size=latent_size, code_size=code_size)
        if context_size:
            _check_sizes(context_size=context_size)
        _check_sizes(**{f"observation[{i}]": size for i, size in enumerate(self.observation)})
        _check_choice("likelihood", likelihood, Likelihood)
        _check_choice("carry", carry, Carry)
        if not self.observation or (likelihood == "categorical" and len(self.observation) > 1):
            raise ValueError(f"observation has {len(self.observation)} sizes, too few or too many for {likelihood!r}")
        self.latent_size, self.likelihood, self.carry = latent_size, likelihood, carry
        self.context_size, self.code_size = context_size, code_size
        if not isinstance(memory, Recurrent):
            raise TypeError(f"memory must be a Recurrent, such as Introspection, got {type(memory).__name__}")
        carried = {"sample": latent_size, "mean": latent_size, "code": code_size, "both": latent_size + code_size}
        if not memory.reads and type(memory).read is not Recurrent.read:
            raise ValueError(f"{type(memory).__name__} reads, so it must say in `reads` and `read_width` what")
        if memory.width != carried[carry]:
            raise ValueError(f"carry={carry!r} has width {carried[carry]}, the memory takes {memory.width}")
        self.memory = memory
        hidden, pixels = memory.hidden_size, math.prod(self.observation)
        self.psi_size = hidden + memory.reads * memory.read_width
        if encoder is None:
            encoder = nn.Sequential(
                nn.Flatten(), nn.Linear(pixels, code_size), nn.ReLU(), nn.Linear(code_size, code_size), nn.ReLU()
            )
        self.encoder = encoder
        self.parameter_shape = (2, *self.observation) if likelihood == "gaussian" else self.observation
        if decoder is None:
            decoder = nn.Sequential(
                nn.Linear(latent_size + self.psi_size, code_size),
                nn.ReLU(),
                nn.Linear(code_size, math.prod(self.parameter_shape)),
                nn.Unflatten(1, self.parameter_shape),
            )
        self.decoder = decoder
        self.controller = nn.LSTMCell(memory.width + context_size, hidden)
        self.gates = nn.Linear(hidden, memory.reads) if memory.reads else None
        self.prior = nn.Sequential(
            nn.Linear(self.psi_size, code_size), nn.ReLU(), nn.Linear(code_size, 2 * latent_size)
        )
        self.evidence = nn.Linear(code_size, code_size)
        self.belief = nn.Linear(self.psi_size, code_size, bias=False)
        self.posterior = nn.Linear(code_size, 2 * latent_size)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Bound:
        """The bound, frame by frame, from one sample of the posterior, eq. (GTM.4).

        Args:
            x: (time, batch, *observation), of the parameters' dtype and device, under autocast of any floating one;
                "categorical": (time, batch), int64. Time and batch are at least 1.
            context: (time, batch, context_size); None if and only if context_size is 0.
        Raises: ValueError, TypeError: another shape, dtype, device or range than these.
        """
        q, z, psi = self.infer(x, context)
        reconstruction = self.log_likelihood(self.decode(z, psi), x)
        kl = kl_normal(q, self._before(psi))
        return Bound(reconstruction - kl, reconstruction, kl)

    @torch.no_grad()
    def importance_bound(self, x: Tensor, samples: int, context: Tensor | None = None) -> Tensor:
        """ln of the mean of `samples` importance weights, (batch,), eq. (GTM.30): nearer to ln p(x) the more there are.

        Args: x, context: as for `forward`; samples: at least 1; all of them run at once, as a larger batch.
        """
        _check_sizes(samples=samples)
        self._check_frames("x", x, context)
        many = x.repeat_interleave(samples, 1)
        q, z, psi = self.infer(many, None if context is None else context.repeat_interleave(samples, 1))
        weights = self.log_likelihood(self.decode(z, psi), many) + self._before(psi).log_prob(z) - q.log_prob(z)
        return weights.sum(0).view(-1, samples).logsumexp(1) - math.log(samples)

    @torch.no_grad()
    def generate(self, prefix: Tensor, steps: int, context: Tensor | None = None, *, expected: bool = False) -> Tensor:
        """Go on with a sequence: latents of the prefix from the posterior, those after it from the prior.

        A frame that was drawn is carried on as one that was seen: as its latent, or its code, or its posterior mean.

        Args:
            prefix: (time, batch, …), as x of `forward`, but time may be 0.
            steps: frames to add, at least 1.
            context: of prefix and new frames, (time + steps, batch, context_size).
            expected: whether to return means of the likelihood, of symbols their probabilities, instead of samples;
                what is carried on is the same.
        Returns: the new frames, (steps, batch, …), of the prefix's dtype; means in float32 or wider.
        """
        _check_sizes(steps=steps)
        time, batch = self._check_frames("prefix", prefix, context, steps, least=0)
        codes = self._encode(prefix) if time else prefix
        state, frames = self._start(batch), []
        for t in range(time + steps):
            with _no_autocast(prefix.device):
                psi, state = self._step(state, None if context is None else context[t])
                q = self._believe(psi, self.evidence(codes[t]), state.weights) if t < time else self._before(psi)
                z = q.sample(torch.randn_like(q.mean))
            code = codes[t] if t < time else z  # "sample" has no use for it
            if t >= time:
                parameters = self.decode(z[None], psi[None])
                x = _cast(self._draw(parameters), prefix.dtype)
                frames.append((self._expect(parameters) if expected else x)[0])
                if self.carry != "sample":
                    code = self._encode(x)[0]
                    with _no_autocast(prefix.device):
                        q = self._believe(psi, self.evidence(code), state.weights)
            state = state._replace(carried=self._carried(z, q.mean, code))
        return torch.stack(frames)

    def infer(self, x: Tensor, context: Tensor | None = None) -> tuple[Normal, Tensor, Tensor]:
        """The posterior, a sample of it, (time, batch, latent_size), and ψ, (time, batch, psi_size).

        Args: as for `forward`.
        """
        time, batch = self._check_frames("x", x, context)
        codes = self._encode(x)
        with _no_autocast(x.device):
            evidence = self.evidence(codes)
            noise = _wide(evidence).new_empty(time, batch, self.latent_size).normal_()
            known = codes.unbind(0), evidence.unbind(0), noise.unbind(0), (None,) * time if context is None else context
            state, steps = self._start(batch), []
            for code, seen, epsilon, told in zip(*known, strict=True):
                psi, state = self._step(state, told)
                q = self._believe(psi, seen, state.weights)
                z = q.sample(epsilon)
                state = state._replace(carried=self._carried(z, q.mean, code))
                steps.append((*q, z, psi))
        mean, deviation, z, psi = (torch.stack(part) for part in zip(*steps, strict=True))
        return Normal(mean, deviation), z, psi

    def decode(self, z: Tensor, psi: Tensor) -> Tensor:
        """Parameters of the likelihood, (time, batch, …), from latents and ψ, in float32 or wider."""
        out = self.decoder(torch.cat((z.to(psi.dtype), psi), -1).flatten(0, 1))
        if out.shape[1:] != self.parameter_shape:
            raise ValueError(f"decoder must return (n, *{self.parameter_shape}), got {tuple(out.shape)}")
        return _wide(out).reshape(*z.shape[:2], *self.parameter_shape)

    def log_likelihood(self, parameters: Tensor, x: Tensor) -> Tensor:
        """ln p(x_t | z_t, ψ) in nats, (time, batch), from what `decode` returns and frames.

        Raises: ValueError: frames of another shape than the means, or logits, have.
        """
        if self.likelihood == "categorical":
            return -F.cross_entropy(parameters.flatten(0, 1), x.flatten(), reduction="none").view_as(x)
        x = x.to(parameters.dtype)
        if self.likelihood == "bernoulli":
            return -F.binary_cross_entropy_with_logits(parameters, x, reduction="none").flatten(2).sum(-1)
        mean, raw = parameters.unbind(2)
        if x.shape != mean.shape:
            raise ValueError(f"x must have shape {tuple(mean.shape)}, got {tuple(x.shape)}")
        return Normal(mean.flatten(2), _positive(raw).flatten(2)).log_prob(x.flatten(2))

    def _expect(self, parameters: Tensor) -> Tensor:
        """Mean of the likelihood; of symbols their probabilities."""
        if self.likelihood == "gaussian":
            return parameters[:, :, 0]
        return parameters.softmax(-1) if self.likelihood == "categorical" else parameters.sigmoid()

    def _draw(self, parameters: Tensor) -> Tensor:
        """A frame from the likelihood."""
        if self.likelihood == "categorical":
            probabilities = parameters.softmax(-1).flatten(0, 1)
            return torch.multinomial(probabilities, 1).view(parameters.shape[:2])
        if self.likelihood == "bernoulli":
            return torch.bernoulli(parameters.sigmoid())
        mean, raw = parameters.unbind(2)
        return Normal(mean, _positive(raw)).sample(torch.randn_like(mean))

    def _start(self, batch: int) -> _State:
        lstm = self.controller
        weight, bias = torch.cat((lstm.weight_ih, lstm.weight_hh), 1), lstm.bias_ih + lstm.bias_hh
        controller, bias = (torch.cat((i, f, o, g)) for i, f, g, o in (weight.chunk(4), bias.chunk(4)))
        weights = _Weights(controller.t(), bias, self.belief.weight.t(), self.posterior.weight.t())
        zeros = lstm.weight_hh.new_zeros(batch, self.memory.hidden_size)
        return _State(zeros, zeros, self.memory.reset(batch), None, weights)

    def _step(self, state: _State, context: Tensor | None) -> tuple[Tensor, _State]:
        """ψ of the next frame, eqs. (GTM.8) to (GTM.11)."""
        hidden, cell, memory, carried, weights = state
        fed = (hidden.new_zeros(len(hidden), self.memory.width),) if carried is None else carried
        known = (*fed, hidden) if context is None else (*fed, context, hidden)
        inputs = torch.cat([_cast(part, hidden.dtype) for part in known], 1)
        gates = torch.addmm(weights.bias, inputs, weights.controller)
        sigmoids, candidate = gates.split((3 * self.memory.hidden_size, self.memory.hidden_size), 1)
        i, f, o = sigmoids.sigmoid().chunk(3, 1)
        cell = torch.addcmul(f * cell, i, candidate.tanh())
        hidden = o * cell.tanh()
        if self.gates is None:
            return hidden, state._replace(hidden=hidden, cell=cell)
        if carried is not None:
            memory = self.memory.write(memory, hidden, torch.cat(carried, 1))
        read, memory = self.memory.read(memory, hidden)
        gated = self.gates(hidden).sigmoid().unsqueeze(-1) * read
        psi = torch.cat((hidden, _cast(gated.flatten(1), hidden.dtype)), 1)
        return psi, state._replace(hidden=hidden, cell=cell, memory=memory)

    def _carried(self, z: Tensor, mean: Tensor, code: Tensor) -> tuple[Tensor, ...]:
        if self.carry == "both":
            return z, code
        return ({"sample": z, "mean": mean, "code": code}[self.carry],)

    def _believe(self, psi: Tensor, evidence: Tensor, weights: _Weights) -> Normal:
        """The posterior of z_t; psi and evidence: (batch, …)."""
        both = torch.addmm(evidence, psi, weights.belief).relu()
        return _normal(torch.addmm(self.posterior.bias, both, weights.posterior))

    def _before(self, psi: Tensor) -> Normal:
        """The prior of z_t."""
        with _no_autocast(psi.device):
            return _normal(self.prior(psi))

    def _encode(self, x: Tensor) -> Tensor:
        """The codes of frames, (time, batch, code_size), of the parameters' dtype."""
        dtype = self.evidence.weight.dtype
        if self.likelihood == "categorical":
            code = self.encoder(F.one_hot(x.flatten(), self.observation[0]).to(dtype))
        else:
            code = self.encoder(x.flatten(0, 1))
        if code.shape[1:] != (self.code_size,):
            raise ValueError(f"encoder must return (n, {self.code_size}), got {tuple(code.shape)}")
        return cast(Tensor, code.to(dtype).unflatten(0, x.shape[:2]))

    def _check_frames(self, name: str, x: Tensor, context: Any, steps: int = 0, least: int = 1) -> tuple[int, int]:
        """Refuse what `forward` refuses, where `steps` frames follow x; returns time and batch."""
        like, device = self.evidence.weight, self.evidence.weight.device.type
        autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        symbols = self.likelihood == "categorical"
        kind = like.new_empty(0, dtype=torch.int64) if symbols else like
        _check_tensor(name, x, ("time", "batch", *(() if symbols else self.observation)), kind, narrower=autocast)
        time, batch = x.shape[:2]
        if time < least or batch < 1:
            raise ValueError(f"{name} needs a time of at least {least} and a batch of at least 1, got {tuple(x.shape)}")
        if self.likelihood != "gaussian" and x.numel() and device != "meta":
            highest = self.observation[0] - 1 if symbols else 1
            low, high = map(float, x.aminmax())
            if not (low >= 0 and high <= highest):
                raise ValueError(f"{name} must lie in [0, {highest}], got {low:g} to {high:g}")
        if self.context_size:
            _check_tensor("context", context, (time + steps, batch, self.context_size), like, narrower=autocast)
        elif context is not None:
            raise ValueError("a model of context_size 0 takes no context")
        return time, batch


def _positive(raw: Tensor) -> Tensor:
    return F.softplus(raw + ONE) + FLOOR


def _normal(raw: Tensor) -> Normal:
    mean, deviation = _wide(raw).chunk(2, -1)
    return Normal(mean, _positive(deviation))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

"""Generative models of sequences whose latents are kept in a memory and read again.

Gemici, Hung, Santoro, Wayne, Mohamed, Rezende, Amos, Lillicrap, "Generative Temporal Models with Memory", 2017 (arXiv
1702.04649). Equation tags are those of the chapter `notebooks/temporal_memory`.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.memory_augmented import (
    SHIFTS,
    LeastRecentlyUsedMemory,
    MemoryState,
    TuringMemory,
    TuringState,
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
        """Mean plus deviation times standard normal noise, eq. (GTM.5)."""
        return torch.addcmul(self.mean, self.deviation, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density, summed over the last dimension."""
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
    """Kullback-Leibler divergence of q from p in nats, summed over the last dimension, eq. (GTM.6)."""
    ratio = q.deviation / p.deviation
    apart = (q.mean - p.mean) / p.deviation
    return 0.5 * (ratio.square() + apart.square() - 1 - 2 * ratio.log()).sum(-1)


class Recurrent(nn.Module):
    """No memory but the controller's own state: with `carry="both"` the model is a variational recurrent network (VRNN).

    Args: hidden_size: units of the controller; width: of what is carried from one frame to the next.
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
        return next(self.parameters()).new_zeros(batch, 0, self.width)

    def write(self, state: Tensor, hidden: Tensor, carried: Tensor) -> Tensor:
        return torch.cat((carried.unsqueeze(1), state[:, : self.span - 1]), 1)

    def weights(self, state: Tensor, hidden: Tensor) -> Tensor:
        """Read weights, (batch, reads, rows), newest row first."""
        rows, scores = state.shape[1], 0.0
        if self.lags is not None:
            scores = scores + self.lags(hidden).unflatten(1, (self.reads, self.span))[:, :, :rows]
        if self.keys is not None:
            keys = self.keys(hidden).unflatten(1, (self.reads, self.width))
            scores = scores + torch.bmm(keys, state.mT) / math.sqrt(self.width)
        return cast(Tensor, scores).softmax(-1)

    def read(self, state: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        if state.shape[1] == 0:
            return hidden.new_zeros(len(hidden), self.reads, self.width), state
        return torch.bmm(self.weights(state, hidden), state), state


class _Heads(nn.Module):
    """One linear layer whose outputs are cut into named parts."""

    def __init__(self, inputs: int, **sizes: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.linear = nn.Linear(inputs, sum(sizes.values()))

    def part(self, name: str) -> Tensor:
        """The biases behind one part."""
        return dict(zip(self.sizes, self.linear.bias.split(tuple(self.sizes.values())), strict=True))[name]

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        parts = self.linear(torch.cat(inputs, 1)).split(tuple(self.sizes.values()), 1)
        return dict(zip(self.sizes, parts, strict=True))


class LeastRecentlyUsed(Recurrent):
    """The memory of the MANN chapter: reads by content, writes over what was used least, see `LeastRecentlyUsedMemory`.

    Args: hidden_size, width: see `Recurrent`; slots, slot_width, reads: sizes of the memory.
    """

    def __init__(self, hidden_size: int, width: int, slots: int, slot_width: int, reads: int = 1) -> None:
        super().__init__(hidden_size, width)
        self.memory = LeastRecentlyUsedMemory(slots, slot_width, reads)
        self.reads, self.read_width = reads, slot_width
        self.write_heads = _Heads(hidden_size + width, contents=slot_width, gate=1)
        self.read_heads = _Heads(hidden_size, keys=reads * slot_width, sharpness=reads)

    def reset(self, batch: int) -> MemoryState:
        like = self.write_heads.linear.bias
        return self.memory.initial_state(batch, device=like.device, dtype=like.dtype)

    def write(self, state: MemoryState, hidden: Tensor, carried: Tensor) -> MemoryState:
        heads = self.write_heads(hidden, carried)
        return self.memory.write(state, heads["contents"].unsqueeze(1), heads["gate"].sigmoid())

    def read(self, state: MemoryState, hidden: Tensor) -> tuple[Tensor, MemoryState]:
        heads = self.read_heads(hidden)
        keys = heads["keys"].unflatten(1, (self.reads, -1))
        return self.memory.read(state, keys, 1 + F.softplus(heads["sharpness"]))


class NeuralTuring(Recurrent):
    """The memory of the Neural Turing Machine: by content, by interpolation and by shift, see `TuringMemory`.

    Begins as a tape: writing moves on by a slot, reading goes by content. With torch's biases it learned no recall.

    Args: hidden_size, width: see `Recurrent`; slots, slot_width, reads: sizes of the memory, which has one write head.
    """

    def __init__(self, hidden_size: int, width: int, slots: int, slot_width: int, reads: int = 1) -> None:
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
        with torch.no_grad():
            for heads, starts in ((self.write_heads, TAPE), (self.read_heads, LOOK_UP)):
                for name, start in starts.items():
                    part = heads.part(name)
                    part += torch.tensor(start).repeat(len(part) // len(start))

    def reset(self, batch: int) -> TuringState:
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
        heads = self.write_heads(hidden, carried)
        erase, contents = heads.pop("erase").sigmoid().unsqueeze(1), heads.pop("contents").unsqueeze(1)
        return self.memory.write(state, erase, contents, **self._addressed(heads, 1))

    def read(self, state: TuringState, hidden: Tensor) -> tuple[Tensor, TuringState]:
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
    """The memory of Graves et al. 2016: allocation by usage, and links in the order of writing.

    Args: hidden_size, width: see `Recurrent`; slots, slot_width, reads: sizes of the memory, which has one write head.
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
        memory = self.write_heads.linear.bias.new_zeros(batch, self.slots, self.read_width)
        row = memory.new_zeros(batch, self.slots)
        link = memory.new_zeros(batch, self.slots, self.slots)
        return ComputerState(memory, row, row, row, link, memory.new_zeros(batch, self.reads, self.slots))

    def write(self, state: ComputerState, hidden: Tensor, carried: Tensor) -> ComputerState:
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
    """Where the Differentiable Neural Computer writes next: the least used slot first, eq. (GTM.20).

    Args: usage: (…, slots), in [0, 1].
    Returns: (…, slots), of a sum of at most one.
    """
    ordered, slots = usage.sort(dim=-1, stable=True)
    used = torch.cat((torch.ones_like(ordered[..., :1]), ordered[..., :-1]), -1).cumprod(-1)
    return torch.zeros_like(usage).scatter(-1, slots, (1 - ordered) * used)


class TemporalGenerativeModel(nn.Module):
    """A model of sequences with a latent for every frame and a memory of what was carried on, eqs. (GTM.1) to (GTM.8).

        model = TemporalGenerativeModel(64, 16, Introspection(96, 16, span=12))
        bound = model(x)                      # x: (time, batch, 64)
        (-bound.total.sum(0).mean()).backward()

    One step: the controller, an LSTM, takes what was carried from the frame before and the context of this one; the
    memory is written, then read; prior and posterior of z_t, and the frame given z_t, see the controller and the
    gated reads. Encoder and decoder run on all frames at once, as does the prior: only what feeds back is in the loop.

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
        encoder: takes frames, (n, *observation), to (n, code_size); None: two rectified layers.
        decoder: takes latents with what was read, (n, latent_size + psi_size), to logits or to means, (n,
            *observation); "gaussian": to twice as many, means and raw deviations, (n, 2, *observation).
    Raises: ValueError, TypeError: an argument outside what is listed.
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
        self.observation = (observation,) if isinstance(observation, Integral) else tuple(observation)
        self.latent_size, self.likelihood, self.carry = latent_size, likelihood, carry
        self.context_size, self.code_size = context_size, code_size
        _check_choice("likelihood", likelihood, Likelihood)
        _check_choice("carry", carry, Carry)
        carried = {"sample": latent_size, "mean": latent_size, "code": code_size, "both": latent_size + code_size}
        if memory.width != carried[carry]:
            raise ValueError(f"carry={carry!r} has width {carried[carry]}, the memory takes {memory.width}")
        self.memory = memory
        hidden, pixels = memory.hidden_size, math.prod(self.observation)
        self.psi_size = hidden + memory.reads * memory.read_width
        self.encoder = encoder or nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, code_size), nn.ReLU(), nn.Linear(code_size, code_size), nn.ReLU()
        )
        outputs = (2 if likelihood == "gaussian" else 1, *self.observation)
        self.decoder = decoder or nn.Sequential(
            nn.Linear(latent_size + self.psi_size, code_size),
            nn.ReLU(),
            nn.Linear(code_size, math.prod(outputs)),
            nn.Unflatten(1, outputs if likelihood == "gaussian" else self.observation),
        )
        self.controller = nn.LSTMCell(memory.width + context_size, hidden)
        self.gates = nn.Linear(hidden, memory.reads) if memory.reads else None
        self.prior = nn.Sequential(
            nn.Linear(self.psi_size, code_size), nn.ReLU(), nn.Linear(code_size, 2 * latent_size)
        )
        self.evidence = nn.Linear(code_size, code_size)
        self.belief = nn.Linear(self.psi_size, code_size, bias=False)
        self.posterior = nn.Linear(code_size, 2 * latent_size)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Bound:
        """The bound, frame by frame, from one sample of the posterior."""
        q, z, psi = self.infer(x, context)
        p = _normal(self.prior(psi))
        reconstruction = self.log_likelihood(self.decode(z, psi), x)
        kl = kl_normal(q, p)
        return Bound(reconstruction - kl, reconstruction, kl)

    @torch.no_grad()
    def importance_bound(self, x: Tensor, samples: int, context: Tensor | None = None) -> Tensor:
        """ln of the mean of `samples` importance weights, (batch,), eq. (GTM.25): nearer to ln p(x) the more there are."""
        many = x.repeat_interleave(samples, 1)
        known = None if context is None else context.repeat_interleave(samples, 1)
        q, z, psi = self.infer(many, known)
        p = _normal(self.prior(psi))
        weights = (self.log_likelihood(self.decode(z, psi), many) + p.log_prob(z) - q.log_prob(z)).sum(0)
        return weights.unflatten(0, (x.shape[1], samples)).logsumexp(1) - math.log(samples)

    @torch.no_grad()
    def generate(self, prefix: Tensor, steps: int, context: Tensor | None = None, *, expected: bool = False) -> Tensor:
        """Go on with a sequence: latents of the prefix from the posterior, those after it from the prior.

        Args:
            prefix: (time, batch, …), time at least 0.
            steps: frames to add.
            context: of prefix and new frames, (time + steps, batch, context_size).
            expected: whether to return means of the likelihood instead of samples; what is carried on is the same.
        Returns: the new frames, (steps, batch, …).
        """
        code = self.encoder(self._flat(prefix)).unflatten(0, prefix.shape[:2]) if len(prefix) else prefix
        state, frames = self._start(prefix.shape[1]), []
        for t in range(len(prefix) + steps):
            psi, state = self._step(state, None if context is None else context[t])
            if t < len(prefix):
                q = self._believe(psi, self.evidence(code[t]))
                z, mean, seen = q.sample(torch.randn_like(q.mean)), q.mean, code[t]
            else:
                p = _normal(self.prior(psi))
                z = mean = seen = p.sample(torch.randn_like(p.mean))
                parameters = self.decode(z[None], psi[None])
                x = self._draw(parameters)
                frames.append((self._expect(parameters) if expected else x)[0])
                if self.carry != "sample":
                    seen = self.encoder(self._flat(x))
                    mean = self._believe(psi, self.evidence(seen)).mean
            state = (*state[:-1], self._carried(z, mean, seen))
        return torch.stack(frames)

    def _believe(self, psi: Tensor, evidence: Tensor) -> Normal:
        return _normal(self.posterior((self.belief(psi) + evidence).relu()))

    def _expect(self, parameters: Tensor) -> Tensor:
        """Mean of the likelihood; of symbols their probabilities."""
        if self.likelihood == "gaussian":
            return parameters[:, :, 0]
        return parameters.softmax(-1) if self.likelihood == "categorical" else parameters.sigmoid()

    def _draw(self, parameters: Tensor) -> Tensor:
        """A frame from the likelihood."""
        if self.likelihood == "categorical":
            return torch.distributions.Categorical(logits=parameters, validate_args=False).sample()
        if self.likelihood == "bernoulli":
            return torch.bernoulli(parameters.sigmoid())
        mean, raw = parameters.unbind(2)
        return Normal(mean, F.softplus(raw + ONE) + FLOOR).sample(torch.randn_like(mean))

    def infer(self, x: Tensor, context: Tensor | None = None) -> tuple[Normal, Tensor, Tensor]:
        """The posterior, a sample of it, (time, batch, latent_size), and ψ, (time, batch, psi_size)."""
        time, batch = x.shape[:2]
        code = self.encoder(self._flat(x)).unflatten(0, (time, batch))
        evidence = self.evidence(code)
        noise = torch.randn(time, batch, self.latent_size, dtype=code.dtype, device=code.device)
        state = self._start(batch)
        means, deviations, samples, psis = [], [], [], []
        for t in range(time):
            psi, state = self._step(state, None if context is None else context[t])
            q = self._believe(psi, evidence[t])
            z = q.sample(noise[t])
            state = (*state[:-1], self._carried(z, q.mean, code[t]))
            means.append(q.mean)
            deviations.append(q.deviation)
            samples.append(z)
            psis.append(psi)
        return Normal(torch.stack(means), torch.stack(deviations)), torch.stack(samples), torch.stack(psis)

    def _start(self, batch: int) -> tuple[Any, ...]:
        zeros = self.controller.weight_hh.new_zeros(batch, self.memory.hidden_size)
        return zeros, zeros, self.memory.reset(batch), None

    def _step(self, state: tuple[Any, ...], context: Tensor | None) -> tuple[Tensor, tuple[Any, ...]]:
        """ψ of the next frame."""
        h, c, memory, carried = state
        first = carried is None
        if first:
            carried = h.new_zeros(len(h), self.memory.width)
        inputs = carried if context is None else torch.cat((carried, context), 1)
        h, c = self.controller(inputs, (h, c))
        if self.gates is None:
            return h, (h, c, memory, carried)
        if not first:
            memory = self.memory.write(memory, h, carried)
        read, memory = self.memory.read(memory, h)
        psi = torch.cat((h, (self.gates(h).sigmoid().unsqueeze(-1) * read).flatten(1)), 1)
        return psi, (h, c, memory, carried)

    def _carried(self, z: Tensor, mean: Tensor, code: Tensor) -> Tensor:
        if self.carry == "both":
            return torch.cat((z, code), 1)
        return {"sample": z, "mean": mean, "code": code}[self.carry]

    def _flat(self, x: Tensor) -> Tensor:
        if self.likelihood == "categorical":
            return F.one_hot(x.flatten(), self.observation[0]).to(self.evidence.weight.dtype)
        return x.flatten(0, 1)

    def decode(self, z: Tensor, psi: Tensor) -> Tensor:
        """Parameters of the likelihood, (time, batch, …), from latents and ψ."""
        out: Tensor = self.decoder(torch.cat((z, psi), -1).flatten(0, 1))
        return out.unflatten(0, z.shape[:2])

    def log_likelihood(self, parameters: Tensor, x: Tensor) -> Tensor:
        """ln p(x_t | z_t, ψ), (time, batch)."""
        if self.likelihood == "categorical":
            return -F.cross_entropy(parameters.flatten(0, 1), x.flatten(), reduction="none").unflatten(0, x.shape)
        if self.likelihood == "bernoulli":
            return -F.binary_cross_entropy_with_logits(parameters, x, reduction="none").flatten(2).sum(-1)
        mean, raw = parameters.unbind(2)
        deviation = F.softplus(raw + ONE) + FLOOR
        density = -0.5 * ((x - mean) / deviation).square() - deviation.log() - 0.5 * math.log(2 * math.pi)
        return density.flatten(2).sum(-1)


def _normal(raw: Tensor) -> Normal:
    mean, deviation = raw.chunk(2, -1)
    return Normal(mean, F.softplus(deviation + ONE) + FLOOR)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool):
            raise TypeError(f"{name} must be an int, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def _check_choice(name: str, choice: str, choices: Any) -> None:
    if choice not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {choice!r}")

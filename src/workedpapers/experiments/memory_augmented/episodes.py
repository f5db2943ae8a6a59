"""Networks that learn to name drawings within an episode, trained on some alphabets and tested on others."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workedpapers.lab import progress
from workedpapers.memory_augmented import (
    Addressing,
    Content,
    Controller,
    Gate,
    MemoryAugmentedNetwork,
    MemoryState,
    Order,
    Targets,
    Ties,
    TuringState,
)
from workedpapers.tasks.omniglot import draw_episodes, features, omniglot, split_alphabets, strokes, with_rotations

from .labels import answer, deal, encode, loss, symbols, values_in_use
from .rivals import FeedForward, Matching, Recurrent, Transformer

HELD_OUT = 6  # alphabets to test on
SIZE = 14  # pixels of a side
SIDES = {"omniglot": SIZE, "strokes": SIZE, "all": 20}  # by data
STROKES = {"classes": 300, "drawings": 20, "alphabets": 30, "seed": 0}
SHOWINGS = 10  # of a class, that accuracies are told apart by
TEST_SEED = 1_000_000
POINTS = 50  # of a training curve
WINDOW = 50  # updates over which answers are counted before a class is added


@dataclass(frozen=True)
class FewShot:
    """A network, its episodes and its training.

    Args:
        data: "omniglot", the background set, some alphabets of it held out; "all", that set to train on and the
            evaluation set to test on; "strokes", characters that a small generator draws.
        model: "memory", "lstm", "feedforward", "transformer" or "matching".
        classes, length: of an episode, in the test and at the end of the training.
        labels: as in `labels.deal`; easier: labels that training begins with, until they are mastered, if any.
        start, ready: training begins with episodes of so many classes, their length in proportion; one more class comes
            when of the answers of the last `WINDOW` updates such a share was right.
        inputs: "offset": the drawing and the label of the step before, as in the paper; "aligned": the drawing of the
            step before, too, so that drawing and label arrive together (not for "matching").
        hidden: units of the controller or of the network.
        gain: of an LSTM's starting weights, beside torch's.
        slots, width, reads, writes: of the memory.
        decay, controller, gate, content, targets, ties, erase, order, sharpness, addressing, feedback: as in
            `MemoryAugmentedNetwork` (content: its write_content); under "ntm" sharpness is where key strengths start.
        wiped: whether the memory is emptied before an episode; else all episodes are one long stream.
        learning_rate, updates, batch: of Adam; gradients are clipped at the norm 10.
        tested: also test episodes of so many classes, length in proportion.
        ways: the official one-shot runs, asked among so many characters.
        probed: whether to read out the memory's rows.
        episodes: of a test.
    """

    data: str = "omniglot"
    model: str = "memory"
    classes: int = 5
    length: int = 50
    labels: str = "one-hot"
    easier: str | None = None
    start: int = 3
    ready: float = 0.6
    inputs: str = "offset"
    hidden: int = 100
    gain: float = 1.0
    slots: int = 64
    width: int = 20
    reads: int = 2
    writes: int = 1
    decay: float = 0.95
    controller: Controller = "lstm"
    gate: Gate = "controller"
    content: Content = "key"
    targets: Targets = "own"
    ties: Ties = "first"
    erase: bool = True
    order: Order = "write"
    sharpness: float | Literal["learned"] | None = None
    addressing: Addressing = "lru"
    feedback: bool = True
    wiped: bool = True
    learning_rate: float = 0.003
    updates: int = 3000
    batch: int = 16
    tested: tuple[int, ...] = ()
    ways: tuple[int, ...] = ()
    probed: bool = False
    episodes: int = 400


@cache
def drawings(data: str, part: str) -> tuple[Tensor, Tensor]:
    """Drawings of the "train" or "test" alphabets, with rotations, (characters, drawings, pixels), and their mask.

    Raises: ValueError: other data.
    """
    if data not in SIDES:
        raise ValueError(f"data must be one of {', '.join(SIDES)}, got {data!r}")
    if data == "all":
        found = omniglot("background" if part == "train" else "evaluation", SIDES[data])
    else:
        both = split_alphabets(omniglot() if data == "omniglot" else strokes(**STROKES), HELD_OUT)
        found = both[part == "test"]
    return features(with_rotations(found), SIDES[data]), found.mask.repeat(4, 1)


class Batch:
    """Episodes as a network sees them.

    Attributes:
        drawing: (length, batch, pixels).
        digits: of the right labels, (length, batch, digits); all_digits: of every class, (batch, classes, digits).
        which, showing: class in its episode, and how often it was shown, this time included, (length, batch).
        values: that a digit can have in these episodes, fewer than the network knows while it learns or is asked less.
    """

    def __init__(
        self, drawing: Tensor, which: Tensor, showing: Tensor, all_digits: Tensor, values: int, device: torch.device
    ) -> None:
        self.values = values
        self.drawing, self.all_digits = drawing.to(device), all_digits.to(device)
        self.which, self.showing = which.to(device), showing.to(device)
        self.digits = self.all_digits[torch.arange(len(all_digits), device=device), self.which]

    def inputs(self, kind: str, values: int) -> Tensor:
        """What the network is given, (length, batch, input).

        Args: kind: see `FewShot.inputs`; values: that a digit of the network's labels can have.
        """
        label = encode(self.digits, values)
        before = [F.pad(value[:-1], (0, 0, 0, 0, 1, 0)) for value in (label, self.drawing)]
        parts = {
            "offset": (self.drawing, before[0]),
            "aligned": (self.drawing, before[1], before[0]),
        }
        return torch.cat(parts[kind], -1)


def draw(
    config: FewShot,
    part: str,
    classes: int,
    batch: int,
    generator: torch.Generator,
    device: torch.device,
    labels: str | None = None,
) -> Batch:
    """Fresh episodes of so many classes, of the "train" or the "test" alphabets.

    Args: labels: instead of the configuration's.
    """
    pixels, mask = drawings(config.data, part)
    length = config.length * classes // config.classes
    episodes = draw_episodes(mask, batch, classes, length, generator=generator)
    labels = labels or config.labels
    digits, values = deal(labels, classes, batch, generator), values_in_use(labels, classes)
    return Batch(
        pixels[episodes.character, episodes.drawing], episodes.label, episodes.instance, digits, values, device
    )


def most_classes(config: FewShot) -> int:
    """Of any episode, in training or in the tests; not of the official runs, for which names must suffice."""
    return max(config.classes, *config.tested, 1)


def build(config: FewShot) -> nn.Module:
    """The network of a configuration, with fresh weights."""
    digits, values = symbols(config.labels, most_classes(config))
    output = digits * values
    drawing = SIDES[config.data] ** 2
    inputs = output + drawing * (1 if config.inputs == "offset" else 2)
    if config.model == "lstm":
        return Recurrent(inputs, output, config.hidden, config.gain)
    if config.model == "feedforward":
        return FeedForward(inputs, output, config.hidden)
    if config.model == "transformer":
        return Transformer(inputs, output, config.hidden, config.length * most_classes(config) // config.classes)
    if config.model == "matching":
        return Matching(drawing, config.hidden)
    strength = config.sharpness if config.addressing == "ntm" and isinstance(config.sharpness, float) else 0.0
    network = MemoryAugmentedNetwork(
        inputs,
        output,
        controller=config.controller,
        hidden_size=config.hidden,
        slots=config.slots,
        width=config.width,
        reads=config.reads,
        writes=config.writes,
        decay=config.decay,
        targets=config.targets,
        ties=config.ties,
        erase=config.erase,
        gate=config.gate,
        write_content=config.content,
        sharpness=None if strength else config.sharpness,
        order=config.order,
        addressing=config.addressing,
        feedback=config.feedback,
    )
    if strength:
        start, count = (network.head_sizes[name] for name in ("keys", "strength"))
        with torch.no_grad():
            network.heads.bias[start : start + count] += strength
    return network


class Learner:
    """A network, and the memory that it carries from one batch of episodes to the next if it is not wiped."""

    def __init__(self, config: FewShot, device: torch.device) -> None:
        self.config, self.network = config, build(config).to(device)
        self.values = symbols(config.labels, most_classes(config))[1]
        self.carried: MemoryState | TuringState | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Logits of the names in use, (length, batch, digits · values)."""
        input = batch.inputs(self.config.inputs, self.values)
        if not isinstance(self.network, MemoryAugmentedNetwork):
            logits: Tensor = self.network(input)
            return self._in_use(logits, batch)
        state = self.network.initial_state(input.shape[1])
        if self.carried is not None:
            state = state._replace(memory=self.carried)
        logits, state = self.network(input, state)
        if not self.config.wiped:
            self.carried = state.memory.detach()
        return self._in_use(logits, batch)

    def _in_use(self, logits: Tensor, batch: Batch) -> Tensor:
        digits = batch.all_digits.shape[-1]
        named: Tensor = logits.unflatten(-1, (digits, self.values))[..., : batch.values]
        return named.flatten(-2)


def train(config: FewShot, seed: int, device: torch.device) -> tuple[Learner, dict[str, list[float]]]:
    """A trained network, and its training as means over `POINTS` equal parts.

    Seeds torch's own generator for the weights. The episodes have one of theirs, so that networks that master as many
    classes at the same updates see the same.
    Returns: the learner; `curve`: the loss, nats a step; `right`: the share of right answers; `count`: of classes. With
        fewer classes the loss is lower: curves compare where the counts are equal.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    learner = Learner(config, device)
    parameters = list(learner.network.parameters())
    descent = torch.optim.Adam(parameters, lr=config.learning_rate)
    classes, recent = min(config.start, config.classes), deque[float](maxlen=WINDOW)
    labels = config.easier or config.labels
    path = []
    for _ in progress(range(config.updates), config.model):
        batch = draw(config, "train", classes, config.batch, generator, device, labels)
        logits = learner(batch)
        error = loss(logits, batch.digits)
        descent.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        descent.step()
        right = (answer(logits.detach(), batch.digits.shape[-1]) == batch.digits).all(-1)
        recent.append(float(right.float().mean()))
        path.append((error.item(), recent[-1], float(classes)))
        if len(recent) == WINDOW and sum(recent) >= config.ready * WINDOW:
            classes = min(classes + (labels == config.labels), config.classes)
            labels = config.labels
            recent.clear()
    parts = torch.tensor(path, dtype=torch.float64).tensor_split(min(POINTS, config.updates))
    means = torch.stack([part.mean(0) for part in parts]).T.tolist()
    return learner, dict(zip(("curve", "right", "count"), means, strict=True))


def test_batches(config: FewShot, classes: int, device: torch.device) -> Iterator[Batch]:
    """The test episodes, the same for every network and seed."""
    generator = torch.Generator().manual_seed(TEST_SEED)
    for _ in range(config.episodes // config.batch):
        yield draw(config, "test", classes, config.batch, generator, device)


def tally(hit: Tensor, showing: Tensor) -> Tensor:
    """How often the answer was right, and how often a class was shown, by showing, float64, (2, `SHOWINGS`)."""
    of_showing = showing.flatten() == torch.arange(1, SHOWINGS + 1, device=showing.device).unsqueeze(1)
    return torch.stack([(of_showing & hit.flatten()).sum(1), of_showing.sum(1)]).double().cpu()


@torch.no_grad()
def test(learner: Learner, classes: int, device: torch.device) -> dict[str, list[float]]:
    """What a network knows of test episodes.

    Returns: `accuracy`: share of right answers at the first, second, … showing of a class, `SHOWINGS` numbers; and, by
        the Hamming distance of two words, from 1: `rivals`, the mean number of other classes shown before whose word is
        so far from the right one, and `confused`, how often one of these words is the answer, both by step.
    """
    counts = torch.zeros(2, SHOWINGS, dtype=torch.float64)
    digits = symbols(learner.config.labels, classes)[0]
    rivals, confused = torch.zeros(2, digits, dtype=torch.float64)
    steps = 0
    for batch in test_batches(learner.config, classes, device):
        found = answer(learner(batch), digits)
        hit = (found == batch.digits).all(-1)
        counts += tally(hit, batch.showing)
        words = batch.all_digits  # (batch, classes, digits)
        distance = (words.unsqueeze(0) != batch.digits.unsqueeze(2)).sum(-1)  # (length, batch, classes)
        said = (words.unsqueeze(0) == found.unsqueeze(2)).all(-1)
        seen = F.one_hot(batch.which, words.shape[1]).cumsum(0) > 0
        for d in range(digits):
            rivals[d] += (seen & (distance == d + 1)).sum().cpu()
            confused[d] += (seen & said & (distance == d + 1)).sum().cpu()
        steps += hit.numel()
    accuracy = (counts[0] / counts[1].clamp(min=1)).tolist()
    return {"accuracy": accuracy, "rivals": (rivals / steps).tolist(), "confused": (confused / steps).tolist()}

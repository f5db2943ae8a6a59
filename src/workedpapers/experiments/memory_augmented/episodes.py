"""Networks that learn to name drawings within an episode, trained on some alphabets and tested on others."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workedpapers.lab import progress
from workedpapers.memory_augmented import MemoryAugmentedNetwork, MemoryState
from workedpapers.tasks.omniglot import Characters, Episodes, draw_episodes, omniglot, split_alphabets, with_rotations

from .labels import answer, deal, encode, loss, symbols
from .rivals import FeedForward, Matching, Recurrent, Transformer

HELD_OUT = 6  # alphabets to test on
SIZE = 14  # pixels of a side
SHOWINGS = 10  # of a class, that accuracies are told apart by
TEST_SEED = 1_000_000
POINTS = 50  # of a training curve


@dataclass(frozen=True)
class FewShot:
    """A network, its episodes and its training.

    Args:
        model: "memory", "lstm", "feedforward", "transformer" or "matching".
        classes, length: of an episode, in the test and at the end of the training.
        labels: as in `labels.deal`.
        start, grow: training begins with episodes of so many classes, one more every so many updates; their length is
            in proportion.
        inputs: "offset": the drawing and the label of the step before, as in the paper; "previous": also the drawing of
            the step before; "aligned": the drawing of the step before with its label, and the present drawing.
        hidden: units of the controller or of the network.
        scale: of an LSTM's starting weights, beside torch's.
        slots, width, reads, writes: of the memory.
        controller, gate, content, targets, ties, erase, order, sharpness, addressing, feedback: as in
            `MemoryAugmentedNetwork` (content: its write_content).
        wiped: whether the memory is emptied before an episode; else all episodes are one long stream.
        learning_rate, updates, batch: of Adam; gradients are clipped at the norm 10.
        tested: also test episodes of so many classes, length in proportion.
        episodes: of a test.
    """

    model: str = "memory"
    classes: int = 5
    length: int = 50
    labels: str = "one-hot"
    start: int = 3
    grow: int = 400
    inputs: str = "offset"
    hidden: int = 100
    scale: float = 1.0
    slots: int = 64
    width: int = 20
    reads: int = 2
    writes: int = 1
    controller: str = "lstm"
    gate: str = "controller"
    content: str = "key"
    targets: str = "own"
    ties: str = "first"
    erase: bool = True
    order: str = "write"
    sharpness: float | str | None = None
    addressing: str = "lru"
    feedback: bool = True
    wiped: bool = True
    learning_rate: float = 0.003
    updates: int = 3000
    batch: int = 16
    tested: tuple[int, ...] = ()
    episodes: int = 400


@cache
def drawings(part: str) -> tuple[Tensor, Tensor]:
    """Drawings of the "train" or "test" alphabets, with rotations, (characters, drawings, pixels), and their mask."""
    train, test = split_alphabets(omniglot(), HELD_OUT)
    return flatten(with_rotations(train if part == "train" else test))


def flatten(characters: Characters, side: int = SIZE) -> tuple[Tensor, Tensor]:
    """Drawings averaged down to side × side, from 0 to 1, (characters, drawings, pixels), and their mask."""
    images = characters.images
    pooled = F.avg_pool2d(images.flatten(0, 1).unsqueeze(1).float() / 255, images.shape[-1] // side)
    return pooled.flatten(1).view(*images.shape[:2], -1), characters.mask


class Batch:
    """Episodes as a network sees them.

    Attributes:
        drawing: (length, batch, pixels).
        digits: of the right labels, (length, batch, digits); all_digits: of every class, (batch, classes, digits).
        which, showing: class in its episode, and how often it was shown, (length, batch).
    """

    def __init__(
        self, pixels: Tensor, episodes: Episodes, digits: Tensor, device: torch.device
    ) -> None:  # digits: of every class
        self.drawing = pixels[episodes.character, episodes.drawing].to(device)
        self.which, self.showing = episodes.label.to(device), episodes.instance.to(device)
        self.all_digits = digits.to(device)
        self.digits = self.all_digits[torch.arange(digits.shape[0], device=device), self.which]

    def inputs(self, kind: str, values: int) -> Tensor:
        """What the network is given, (length, batch, input): see `FewShot.inputs`."""
        label = encode(self.digits, values)
        before = [F.pad(value[:-1], (0, 0, 0, 0, 1, 0)) for value in (label, self.drawing)]
        parts = {
            "offset": (self.drawing, before[0]),
            "previous": (self.drawing, before[1], before[0]),
            "aligned": (self.drawing, before[1], before[0]),
        }
        return torch.cat(parts[kind], -1)


def draw(
    config: FewShot, part: str, classes: int, batch: int, generator: torch.Generator, device: torch.device
) -> Batch:
    """Fresh episodes of so many classes, of the "train" or the "test" alphabets."""
    pixels, mask = drawings(part)
    length = config.length * classes // config.classes
    episodes = draw_episodes(mask, batch, classes, length, generator=generator)
    return Batch(pixels, episodes, deal(config.labels, classes, batch, generator), device)


def most_classes(config: FewShot) -> int:
    """Of any episode, in training or test."""
    return max(config.classes, *config.tested, 1)


def build(config: FewShot) -> nn.Module:
    """The network of a configuration, with fresh weights."""
    digits, values = symbols(config.labels, most_classes(config))
    output = digits * values
    drawing = SIZE**2
    inputs = output + drawing * (1 if config.inputs == "offset" else 2)
    if config.model == "lstm":
        return Recurrent(inputs, output, config.hidden, config.scale)
    if config.model == "feedforward":
        return FeedForward(inputs, output, config.hidden)
    if config.model == "transformer":
        return Transformer(inputs, output, config.hidden, config.length * most_classes(config) // config.classes)
    if config.model == "matching":
        return Matching(drawing, config.hidden)
    return MemoryAugmentedNetwork(
        inputs,
        output,
        controller=config.controller,
        hidden_size=config.hidden,
        slots=config.slots,
        width=config.width,
        reads=config.reads,
        writes=config.writes,
        targets=config.targets,
        ties=config.ties,
        erase=config.erase,
        gate=config.gate,
        write_content=config.content,
        sharpness=config.sharpness,
        order=config.order,
        addressing=config.addressing,
        feedback=config.feedback,
    )


class Learner:
    """A network, and the memory that it carries from one batch of episodes to the next if it is not wiped."""

    def __init__(self, config: FewShot, device: torch.device) -> None:
        self.config, self.network = config, build(config).to(device)
        self.values = symbols(config.labels, most_classes(config))[1]
        self.carried: MemoryState | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Logits, (length, batch, output)."""
        input = batch.inputs(self.config.inputs, self.values)
        if not isinstance(self.network, MemoryAugmentedNetwork):
            logits: Tensor = self.network(input)
            return logits
        state = self.network.initial_state(input.shape[1])
        if self.carried is not None:
            state = state._replace(memory=self.carried)
        logits, state = self.network(input, state)
        if not self.config.wiped:
            self.carried = MemoryState(*(part.detach() for part in state.memory))
        return logits


def classes_at(update: int, config: FewShot) -> int:
    """How many classes the training episodes of an update have."""
    return min(config.classes, config.start + update // config.grow)


def train(config: FewShot, seed: int, device: torch.device) -> tuple[Learner, list[float]]:
    """A trained network, and its loss, nats a step, as means over `POINTS` equal parts of the training."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    learner = Learner(config, device)
    parameters = list(learner.network.parameters())
    descent = torch.optim.Adam(parameters, lr=config.learning_rate)
    losses = []
    for update in progress(range(config.updates), config.model):
        batch = draw(config, "train", classes_at(update, config), config.batch, generator, device)
        error = loss(learner(batch), batch.digits)
        descent.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        descent.step()
        losses.append(error.detach())
    parts = torch.stack(losses).tensor_split(min(POINTS, config.updates))
    return learner, [float(part.mean()) for part in parts]


def test_batches(config: FewShot, classes: int, device: torch.device) -> Iterator[Batch]:
    """The test episodes, the same for every network and seed."""
    generator = torch.Generator().manual_seed(TEST_SEED)
    for _ in range(config.episodes // config.batch):
        yield draw(config, "test", classes, config.batch, generator, device)


@torch.no_grad()
def test(learner: Learner, classes: int, device: torch.device) -> dict[str, list[float]]:
    """What a network knows of test episodes.

    Returns: `accuracy`: share of right answers at the first, second, … showing of a class, `SHOWINGS` numbers; and, by
        the Hamming distance of two words, from 1: `rivals`, the mean number of other classes shown before whose word is
        so far from the right one, and `confused`, how often one of these words is the answer, both by step.
    """
    right, shown = torch.zeros(2, SHOWINGS, dtype=torch.float64)
    digits = symbols(learner.config.labels, classes)[0]
    rivals, confused = torch.zeros(2, digits, dtype=torch.float64)
    steps = 0
    for batch in test_batches(learner.config, classes, device):
        found = answer(learner(batch), digits)
        place = batch.showing.clamp(max=SHOWINGS + 1) - 1
        hit = (found == batch.digits).all(-1)
        for k in range(SHOWINGS):
            right[k] += hit[place == k].sum().cpu()
            shown[k] += (place == k).sum().cpu()
        words = batch.all_digits  # (batch, classes, digits)
        distance = (words.unsqueeze(0) != batch.digits.unsqueeze(2)).sum(-1)  # (length, batch, classes)
        said = (words.unsqueeze(0) == found.unsqueeze(2)).all(-1)
        seen = F.one_hot(batch.which, words.shape[1]).cumsum(0) > 0
        for d in range(digits):
            rivals[d] += (seen & (distance == d + 1)).sum().cpu()
            confused[d] += (seen & said & (distance == d + 1)).sum().cpu()
        steps += hit.numel()
    accuracy = (right / shown.clamp(min=1)).tolist()
    return {"accuracy": accuracy, "rivals": (rivals / steps).tolist(), "confused": (confused / steps).tolist()}


def run(config: FewShot, seed: int, device: torch.device) -> dict[str, object]:
    """Train, then test on alphabets that the network has not seen.

    Returns: of `test`; `curve`, of `train`; `parameters`, a count; `more`: accuracies at the class counts `tested`.
    """
    learner, curve = train(config, seed, device)
    parameters = sum(parameter.numel() for parameter in learner.network.parameters())
    more = [test(learner, classes, device)["accuracy"] for classes in config.tested]
    return {**test(learner, config.classes, device), "curve": curve, "parameters": parameters, "more": more}

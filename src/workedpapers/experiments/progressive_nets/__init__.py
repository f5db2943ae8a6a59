"""Progressive networks at work (paper `progressive_nets`).

`games` is Catch in eight looks, `images` labelled images and their changes; `tables` are what the experiments page
asks, `claims` is the scoreboard, `cost` belongs to the theory page, `pong` is the paper's own scale.
"""

from typing import Any

from workedpapers.lab import Experiment

from .claims import PEERS, TABLE_1, on_pairs, scoreboard, soup_scores
from .cost import COST
from .games import Soup
from .images import EVERY, Transfer, fit, silenced, tested
from .pong import PONG
from .tables import (
    CHECK,
    CHECK_IMAGES,
    GROUPS,
    LIVE,
    SHOWN,
    SOUP_ARMS,
    even,
    explored,
    named,
    search_even,
    search_images,
    search_soup,
    sensitivity,
    soup,
)

__all__ = [
    "COST",
    "EVERY",
    "EXPERIMENTS",
    "GROUPS",
    "LIVE",
    "PEERS",
    "SHOWN",
    "SOUP_ARMS",
    "TABLE_1",
    "Soup",
    "Transfer",
    "even",
    "explored",
    "fit",
    "named",
    "on_pairs",
    "scoreboard",
    "search_even",
    "search_soup",
    "sensitivity",
    "silenced",
    "soup",
    "soup_scores",
    "tested",
]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "check_images": CHECK_IMAGES,
    "search_soup": search_soup(),
    "search_even": search_even(),
    **{f"search_{group}": search_images(group) for group in GROUPS},
    "sensitivity": sensitivity(),
    "even": even(),
    "soup": soup(*SOUP_ARMS),
    **{group: named(group) for group in GROUPS},
    "cost": COST,
    "pong": PONG,
}

"""Sequences of what people do with releases, at random: the same for the same seed.

A sequence is what somebody plans to do, whatever happens. What a step does is found when it is its turn: one
that does not apply then, such as an answer where nobody asks, is left out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

Moment: TypeAlias = Literal["at once", "building", "asked", "publishing", "ended"]
"""When a step is done: as soon as a build is under way, an approval is asked for, something is being
published, or all runs have ended. At once if that does not come."""

ACTIONS: Final = {
    "clear the failed tasks of a run": 5,
    "clear all of a run": 4,
    "clear a task": 4,
    "clear a task and what follows": 4,
    "mark a run failed": 4,
    "mark a run successful": 1,
    "mark a task failed": 3,
    "mark a task successful": 3,
    "approve": 4,
    "reject": 2,
    "trigger the build": 2,
    "trigger the publish": 3,
    "trigger the versions again": 3,
    "trigger the versions again without terms": 4,
    "reap": 3,
    "mend the build": 3,
    "edit the packaging files": 3,
    "restart the scheduler": 0.5,
}
"""What people do, and how often."""

LONGEST: Final = 5
"""The most steps of a sequence."""


@dataclass(frozen=True)
class Opening:
    """What a person asks for at first."""

    several: bool
    """Two versions in one run, of the wrapper for several."""
    distros: int
    approval: bool
    hold: int
    """Seconds for which it is held, after it is triggered."""
    broken: Literal["", "outside", "in the packaging files"]
    """Where the reason is for which builds of the first distribution fail."""
    goes_on: bool
    """Whether builds go on until somebody lets them end."""
    publish_the_others: bool


@dataclass(frozen=True)
class Step:
    """One action of a person."""

    moment: Moment
    action: str
    pick: float
    """Which one of those that the action can be done to: from 0, the first, to 1, the last."""


@dataclass(frozen=True)
class Sequence:
    """What happens to the release of one person, in this order."""

    seed: int
    opening: Opening
    steps: tuple[Step, ...]
    way: Literal["clear the failed tasks of a run", "clear all of a run", "trigger the versions again"]
    """How the person gets the release out at the end."""

    @classmethod
    def generate(cls, seed: int) -> Sequence:
        """The sequence of a seed."""
        chance = random.Random(seed)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
        opening = Opening(
            several=chance.random() < 0.25,
            distros=chance.choice((1, 1, 2)),
            approval=chance.random() < 0.4,
            hold=chance.choice((0, 0, 0, 15)),
            broken=chance.choice(("", "", "", "outside", "in the packaging files")),
            goes_on=chance.random() < 0.4,
            publish_the_others=chance.random() < 0.3,
        )
        # What cannot apply is left out, so that no time goes to waiting for it.
        moments = [moment for moment in get_args(Moment) if opening.approval or moment != "asked"]
        unfit = {"approve", "reject"} if not opening.approval else set()
        if not (opening.approval or opening.hold):
            unfit.add("trigger the versions again without terms")
        if not opening.broken:
            unfit.add("mend the build")
        weights = {action: weight for action, weight in ACTIONS.items() if action not in unfit}
        actions = chance.choices(list(weights), weights=list(weights.values()), k=chance.randint(1, LONGEST))
        steps = tuple(
            Step(
                "asked" if action in ("approve", "reject") else chance.choice(moments),
                action,
                chance.random(),
            )
            for action in actions
        )
        ways: tuple[Literal["clear the failed tasks of a run", "clear all of a run"], ...]
        ways = ("clear the failed tasks of a run", "clear all of a run")
        return cls(seed, opening, steps, chance.choice((*ways, "trigger the versions again")))

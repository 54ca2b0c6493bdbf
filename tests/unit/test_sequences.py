"""The random sequences of tests/soak/test_run_model.py."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from testing.run_model import Model
from testing.sequences import ACTIONS, Sequence

SEEDS = st.integers(1, 999_200)


@settings(deadline=None)  # A busy machine may stop the test for that long.
@given(SEEDS)
def test_a_seed_always_gives_the_same_sequence(seed: int) -> None:
    assert Sequence.generate(seed) == Sequence.generate(seed)


@settings(deadline=None)  # A busy machine may stop the test for that long.
@given(SEEDS)
def test_nobody_answers_or_waits_for_a_question_where_no_approval_is_required(seed: int) -> None:
    sequence = Sequence.generate(seed)
    asks = {"approve", "reject"} & {step.action for step in sequence.steps}
    assert sequence.opening.approval or not asks
    assert sequence.opening.approval or all(step.moment != "asked" for step in sequence.steps)


def test_the_model_can_do_every_action() -> None:
    assert [action for action in ACTIONS if not hasattr(Model, f"_{action.replace(' ', '_')}")] == []


def test_the_first_sequences_have_every_action() -> None:
    seen = {step.action for seed in range(1, 51) for step in Sequence.generate(seed).steps}
    assert seen == set(ACTIONS)

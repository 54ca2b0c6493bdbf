"""Which instances a job asks for, in which order, after which failures."""

from hhvm_packaging.settings import Machine
from hhvm_packaging.workers.ec2 import Option, options
from hhvm_packaging.workers.job import Failure

MACHINE = Machine(instance_types=["small", "other"], bigger=["big"], disk=16, spot=True)


def test_each_type_is_asked_for_in_each_subnet_before_the_next_type_and_on_demand_where_spot_has_none() -> (
    None
):
    assert list(options(MACHINE, ["a", "b"], [])) == [
        Option("small", "a", spot=True),
        Option("small", "b", spot=True),
        Option("other", "a", spot=True),
        Option("other", "b", spot=True),
        Option("small", "a", spot=False),
        Option("small", "b", spot=False),
        Option("other", "a", spot=False),
        Option("other", "b", spot=False),
    ]


def test_without_subnets_the_default_networks_is_taken() -> None:
    assert next(options(MACHINE, [], [])).subnet is None


def test_after_a_reclaim_the_machine_is_on_demand() -> None:
    assert not any(option.spot for option in options(MACHINE, [], [Failure.RECLAIMED]))


def test_after_too_little_memory_or_disk_the_machine_is_bigger() -> None:
    for failure in (Failure.MEMORY, Failure.DISK):
        assert {option.instance_type for option in options(MACHINE, [], [failure])} == {"big"}


def test_a_job_without_a_bigger_machine_is_tried_on_the_same_again() -> None:
    machine = MACHINE.model_copy(update={"bigger": [], "spot": False})
    assert [option.instance_type for option in options(machine, [], [Failure.MEMORY])] == ["small", "other"]


def test_a_lost_worker_changes_nothing() -> None:
    assert next(options(MACHINE, [], [Failure.LOST])) == Option("small", None, spot=True)

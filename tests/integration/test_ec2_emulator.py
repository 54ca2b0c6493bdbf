"""The EC2 that tests of EC2 workers rely on: user data really runs, and ends and faults are EC2's own."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from testing.account import worker_role
from testing.ec2 import (
    AIRFLOW,
    AMI_PARAMETER,
    IMDS,
    USER_DATA_LIMIT,
    Boot,
    Call,
    emulated_ec2,
    until,
)

if TYPE_CHECKING:
    from testing.ec2 import EC2

STAYS = "echo ready; sleep 600"
DOCKER_RUN = "docker run --detach debian:bookworm sleep 600"
ONE_TRY: dict[str, Any] = {"retries": {"total_max_attempts": 1}}


def launch(ec2: EC2, script: str, *, client: Any = None, shutdown: str = "terminate", **more: Any) -> str:
    """Launch an instance that runs a bash script. Returns its id."""
    parameters = {
        "ImageId": ec2.image_id,
        "InstanceType": "c7i.large",
        "InstanceInitiatedShutdownBehavior": shutdown,
        "UserData": f"#!/bin/bash\n{script}\n",
        "MetadataOptions": IMDS,
        **more,
    }
    answer = (client or ec2.client("ec2")).run_instances(MinCount=1, MaxCount=1, **parameters)
    return str(answer["Instances"][0]["InstanceId"])


def launch_and_wait_for(ec2: EC2, script: str, word: str, **more: Any) -> str:
    """Launch an instance and wait until its user data printed a word."""
    instance = launch(ec2, script, **more)
    until(lambda: word in ec2.console(instance), failure=lambda: ec2.console(instance))
    return instance


def instances(ec2: EC2) -> list[dict[str, Any]]:
    """All instances, as EC2 describes them."""
    pages = ec2.client("ec2").get_paginator("describe_instances").paginate()
    return [each for page in pages for group in page["Reservations"] for each in group["Instances"]]


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


# User data


def test_user_data_runs_once_as_root_without_a_home(ec2: EC2) -> None:
    instance = launch_and_wait_for(ec2, 'echo "$(id -u) $0 ${HOME-none}"; echo ready', "ready")
    assert ec2.console(instance).split() == ["0", "/var/lib/cloud/instance/user-data.txt", "none", "ready"]


def test_the_end_of_user_data_does_not_end_the_instance(ec2: EC2) -> None:
    instance = launch_and_wait_for(ec2, "exit 3", "user data ended with status 3")
    assert ec2.state(instance) == "running"
    assert len(ec2.containers(instance)) == 1


def test_user_data_without_an_interpreter_ends_the_instance_and_the_reason_says_so(ec2: EC2) -> None:
    instance = launch(ec2, "", UserData="echo this is not run")
    ec2.wait(instance, "terminated")
    assert ec2.reason(instance) == "Emulator.UserData"


def test_user_data_of_16_kilobytes_runs(ec2: EC2) -> None:
    user_data = "#!/bin/true\n".ljust(USER_DATA_LIMIT, "#")
    ec2.wait(launch(ec2, "", UserData=user_data), "running")


def test_user_data_beyond_16_kilobytes_is_refused(ec2: EC2) -> None:
    user_data = "#!/bin/true\n".ljust(USER_DATA_LIMIT + 1, "#")
    with pytest.raises(ClientError, match="User data is limited to 16384 bytes") as error:
        launch(ec2, "", UserData=user_data)
    assert code(error) == ec2.launches[0].error == "InvalidParameterValue"
    assert instances(ec2) == []


@pytest.mark.parametrize("options", [{}, {**IMDS, "HttpTokens": "optional"}, {"HttpTokens": "required"}])
def test_no_instance_is_launched_whose_metadata_its_containers_could_read(
    ec2: EC2, options: dict[str, Any]
) -> None:
    with pytest.raises(ClientError, match="must have the metadata options") as error:
        launch(ec2, STAYS, MetadataOptions=options)
    assert code(error) == "UnauthorizedOperation"
    assert instances(ec2) == []


def test_an_instance_uses_s3_with_its_role_and_learns_of_itself_by_imdsv2_only(ec2: EC2) -> None:
    instance = launch(
        ec2,
        """
        metadata=http://169.254.169.254/latest
        curl -s -o /dev/null -w 'without a token: %{http_code}\\n' $metadata/meta-data/instance-id
        token=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $metadata/api/token)
        id=$(curl -s -H "X-aws-ec2-metadata-token: $token" $metadata/meta-data/instance-id)
        own=$(aws sts get-caller-identity --query UserId --output text)
        aws s3 cp - "s3://hhvm-scratch/jobs/$id/$own/log.txt" <<<hello
        shutdown -h now
        """,
        IamInstanceProfile={"Name": worker_role("look")},
    )
    ec2.wait(instance, "terminated")
    assert "without a token: 401" in ec2.console(instance)
    s3 = ec2.client("s3")
    [key] = [
        found["Key"]
        for found in s3.list_objects_v2(Bucket="hhvm-scratch", Prefix=f"jobs/{instance}/")["Contents"]
    ]
    assert key.endswith(f":{instance}/log.txt")
    assert s3.get_object(Bucket="hhvm-scratch", Key=key)["Body"].read() == b"hello\n"
    assert Call(instance, "s3:PutObject", f"hhvm-scratch/{key}") in ec2.calls


def test_a_role_may_do_what_its_policy_says_and_nothing_else(ec2: EC2) -> None:
    s3 = ec2.client("s3", AIRFLOW)
    s3.put_object(Bucket="hhvm-downloads", Key="debian/dists/bookworm/InRelease", Body=b"")
    with pytest.raises(
        ClientError, match=r"hhvm-airflow of .* does not allow s3:PutObject on .*hhvm\.gpg\.key"
    ):
        s3.put_object(Bucket="hhvm-downloads", Key="conf/hhvm.gpg.key", Body=b"")
    stranger = launch(ec2, STAYS)
    with pytest.raises(ClientError, match=r"hhvm-airflow of .* does not allow ec2:TerminateInstances"):
        ec2.client("ec2", AIRFLOW).terminate_instances(InstanceIds=[stranger])
    assert ec2.state(stranger) in ("pending", "running")


def test_launches_beyond_the_accounts_limit_are_refused(ec2: EC2) -> None:
    ec2.limit_instances(1)
    first = launch(ec2, STAYS)
    with pytest.raises(ClientError) as error:
        launch(ec2, STAYS)
    assert code(error) == "VcpuLimitExceeded"
    ec2.client("ec2").terminate_instances(InstanceIds=[first])
    launch(ec2, STAYS)
    assert ec2.peak == 1


def test_an_instance_without_a_profile_has_no_credentials(ec2: EC2) -> None:
    instance = launch(ec2, "aws s3 ls s3://hhvm-scratch; shutdown -h now")
    ec2.wait(instance, "terminated")
    assert "Unable to locate credentials" in ec2.console(instance)


def test_containers_share_the_instances_own_directories_at_the_same_path(ec2: EC2) -> None:
    instance = launch(
        ec2,
        """
        mkdir -p /var/lib/hhvm-packaging/job && cd /var/lib/hhvm-packaging/job && echo hello >in
        docker run --rm --volume $PWD:$PWD --mount type=bind,source=$PWD,target=/mnt debian:bookworm \\
          cp $PWD/in /mnt/out
        cat out
        docker run --rm --volume /etc:/etc debian:bookworm true
        shutdown -h now
        """,
    )
    ec2.wait(instance, "terminated")
    assert ec2.console(instance).startswith("hello\n")
    assert "an emulated instance can share /opt, " in ec2.console(instance)


# Ends


@pytest.mark.parametrize(("behaviour", "end"), [("terminate", "terminated"), ("stop", "stopped")])
@pytest.mark.parametrize(
    "command", ["shutdown -h now", pytest.param("systemctl poweroff", marks=pytest.mark.slow)]
)
def test_shutting_down_means_what_the_launch_said(ec2: EC2, command: str, behaviour: str, end: str) -> None:
    instance = launch(ec2, f"{DOCKER_RUN}; {command}", shutdown=behaviour)
    ec2.wait(instance, "terminated", "stopped")
    assert (ec2.state(instance), ec2.reason(instance)) == (end, "Client.InstanceInitiatedShutdown")
    assert ec2.containers(instance) == []


def test_a_timer_shuts_down_even_if_user_data_hangs_unless_it_is_cancelled(ec2: EC2) -> None:
    # A minute is a second here, and two commands may be seconds apart on a busy machine.
    stays = launch_and_wait_for(ec2, f"shutdown -h +15; shutdown -c; {STAYS}", "ready")
    ends = launch(ec2, f"shutdown -h +15; {STAYS}")
    ec2.wait(ends, "terminated")  # so the other's time, which began before, is over too
    assert ec2.state(stays) == "running"


def test_termination_removes_the_instances_containers_and_those_that_these_started(
    ec2: EC2, job_image: str
) -> None:
    socket = "--volume /var/run/docker.sock:/var/run/docker.sock"
    script = f"docker run {socket} {job_image} sh -c '{DOCKER_RUN}; echo ready; sleep 600'"
    instance = launch_and_wait_for(ec2, script, "ready")
    assert len(ec2.containers(instance)) == 3
    ec2.client("ec2").terminate_instances(InstanceIds=[instance])
    ec2.wait(instance, "terminated")
    assert ec2.containers(instance) == []


def test_a_terminated_instance_never_has_containers_however_early_it_was_terminated(ec2: EC2) -> None:
    client = ec2.client("ec2")
    # Before, while and after its container is made; on a busy machine later than on an idle one.
    for delay in (0, 0.1, 0.2, 0.3, 0.4):
        instance = launch(ec2, f"{DOCKER_RUN}; {DOCKER_RUN}", client=client)
        time.sleep(delay)
        client.terminate_instances(InstanceIds=[instance])
        ec2.wait(instance, "terminated")
        assert ec2.containers(instance) == []


def test_an_image_build_that_is_broken_off_leaves_no_container(ec2: EC2) -> None:
    mark = f"mark-{time.time_ns()}"
    script = f"docker build - <<<$'FROM debian:bookworm\\nRUN echo {mark}-began; sleep 600'"
    instance = launch_and_wait_for(ec2, script, f"{mark}-began")
    ec2.client("ec2").terminate_instances(InstanceIds=[instance])
    ec2.wait(instance, "terminated")

    def containers() -> str:
        command = ["docker", "ps", "--all", "--no-trunc", "--format", "{{.Command}}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    until(lambda: mark not in containers())


# Faults


def test_a_killed_instance_is_terminated_without_notice(ec2: EC2) -> None:
    script = f"trap 'echo noticed' EXIT TERM; {DOCKER_RUN}; {STAYS}"
    instance = launch_and_wait_for(ec2, script, "ready")
    ec2.kill(instance)
    assert (ec2.state(instance), ec2.reason(instance)) == ("terminated", "Server.InternalError")
    assert "noticed" not in ec2.console(instance)
    assert ec2.containers(instance) == []


def test_a_hanging_instance_runs_but_does_nothing_and_can_be_terminated(ec2: EC2) -> None:
    clock = "while echo tick; do sleep 0.1; done"
    instance = launch_and_wait_for(ec2, f"{DOCKER_RUN}; {clock}", "tick")
    ec2.hang(instance)
    printed = ec2.console(instance)
    launch_and_wait_for(ec2, clock, "tick\n" * 5)
    assert (ec2.state(instance), ec2.console(instance)) == ("running", printed)
    ec2.client("ec2").terminate_instances(InstanceIds=[instance])
    ec2.wait(instance, "terminated")
    assert ec2.containers(instance) == []


def test_a_reclaimed_spot_instance_says_so(ec2: EC2) -> None:
    instance = launch(ec2, STAYS, InstanceMarketOptions={"MarketType": "spot"})
    ec2.wait(instance, "running")
    ec2.reclaim(instance)
    [described] = instances(ec2)
    assert described["InstanceLifecycle"] == "spot"
    assert described["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_launches_fail_as_often_as_ordered_and_launch_nothing(ec2: EC2) -> None:
    ec2.fail_launches("VcpuLimitExceeded", times=2)
    for _ in range(2):
        with pytest.raises(ClientError) as error:
            launch(ec2, STAYS)
        assert code(error) == "VcpuLimitExceeded"
    assert instances(ec2) == []
    launch(ec2, STAYS)
    assert [each.error for each in ec2.launches] == ["VcpuLimitExceeded", "VcpuLimitExceeded", ""]


def test_only_launches_of_the_ordered_type_zone_and_market_fail(ec2: EC2) -> None:
    [zone, other, *_] = ec2.subnets
    client = ec2.client("ec2", **ONE_TRY)
    spot = {"MarketType": "spot"}
    lacking: dict[str, Any] = {
        "InstanceType": "c7i.large",
        "SubnetId": ec2.subnets[zone],
        "InstanceMarketOptions": spot,
    }
    ec2.fail_launches(
        "InsufficientInstanceCapacity", times=9, instance_type="c7i.large", zone=zone, market="spot"
    )
    with pytest.raises(ClientError) as error:
        launch(ec2, STAYS, client=client, **lacking)
    assert code(error) == "InsufficientInstanceCapacity"
    launch(ec2, STAYS, client=client, **lacking | {"InstanceType": "c7i.xlarge"})
    launch(ec2, STAYS, client=client, **lacking | {"SubnetId": ec2.subnets[other]})
    launch(ec2, STAYS, client=client, **lacking | {"InstanceMarketOptions": {}})


@pytest.mark.parametrize(("answer", "error"), [("InternalError", ClientError), ("", ConnectionClosedError)])
def test_a_launch_whose_answer_is_lost_did_happen_and_its_token_finds_it(
    ec2: EC2, answer: str, error: type[Exception]
) -> None:
    ec2.lose_launches(answer)
    client = ec2.client("ec2", **ONE_TRY)
    with pytest.raises(error):
        launch(ec2, STAYS, client=client, ClientToken="a-token")
    instance = launch(ec2, STAYS, client=client, ClientToken="a-token")
    assert [each["InstanceId"] for each in instances(ec2)] == [instance]
    assert [each.instances for each in ec2.launches] == [(instance,), (instance,)]


def test_a_token_is_good_for_one_launch_only(ec2: EC2) -> None:
    launch(ec2, STAYS, ClientToken="a-token")
    with pytest.raises(ClientError) as error:
        launch(ec2, STAYS, ClientToken="a-token", InstanceType="c7i.xlarge")
    assert code(error) == "IdempotentParameterMismatch"
    assert len(instances(ec2)) == 1


def test_spot_instances_have_a_quota_of_their_own(ec2: EC2) -> None:
    ec2.limit_spot(0)
    with pytest.raises(ClientError) as error:
        launch(ec2, STAYS, InstanceMarketOptions={"MarketType": "spot"})
    assert code(error) == "MaxSpotInstanceCountExceeded"
    launch(ec2, STAYS)


def test_an_instance_that_is_not_listed_yet_is_unknown_and_then_there(ec2: EC2) -> None:
    ec2.show_after(1)
    client = ec2.client("ec2")
    instance = launch(ec2, STAYS, client=client)
    assert instances(ec2) == []
    with pytest.raises(ClientError) as error:
        client.describe_instances(InstanceIds=[instance])
    assert code(error) == "InvalidInstanceID.NotFound"
    until(lambda: bool(instances(ec2)))


def test_a_launched_instance_can_end_while_it_is_pending_and_its_reason_says_why(ec2: EC2) -> None:
    ec2.doom_launches("Client.VolumeLimitExceeded")
    instance = launch(ec2, STAYS)
    ec2.wait(instance, "terminated")
    assert (ec2.reason(instance), ec2.console(instance)) == ("Client.VolumeLimitExceeded", "")


def test_calls_fail_as_ordered_and_for_whom(ec2: EC2) -> None:
    ec2.fail_calls("SlowDown", action="s3:Put", resource="/a", caller="somebody")
    ec2.fail_calls("ConditionalRequestConflict", conditional=True)
    s3 = ec2.client("s3", "somebody", **ONE_TRY)
    ec2.client("s3").put_object(Bucket="hhvm-scratch", Key="a", Body=b"")
    for name, more, status in (
        ("SlowDown", {}, 503),
        ("ConditionalRequestConflict", {"IfNoneMatch": "*"}, 409),
    ):
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket="hhvm-scratch", Key="a", Body=b"", **more)
        assert (code(error), error.value.response["ResponseMetadata"]["HTTPStatusCode"]) == (name, status)
    s3.put_object(Bucket="hhvm-scratch", Key="a", Body=b"")


def test_who_may_not_list_a_bucket_does_not_learn_that_a_key_is_missing(ec2: EC2) -> None:
    with pytest.raises(ClientError) as error:
        ec2.client("s3", AIRFLOW).head_object(Bucket="hhvm-scratch", Key="packaging/missing")
    assert code(error) == "404"
    instance = ec2.client("s3", launch(ec2, STAYS, IamInstanceProfile={"Name": worker_role("look")}))
    with pytest.raises(ClientError) as error:
        instance.head_object(Bucket="hhvm-scratch", Key="packaging/missing")
    assert code(error) == "403"


def test_an_object_that_is_too_large_for_one_copy_is_refused(ec2: EC2) -> None:
    ec2.gateway.copy_limit = 3
    s3, source = ec2.client("s3"), {"Bucket": "hhvm-scratch", "Key": "a"}
    s3.put_object(Bucket="hhvm-scratch", Key="a", Body=b"four")
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket="hhvm-scratch", Key="b", CopySource=source)
    assert code(error) == "InvalidRequest"


def test_dpkg_is_locked_after_the_boot_if_ordered(ec2: EC2) -> None:
    ec2.boot_next(Boot(apt_locked=4))
    script = """
        apt-get install --yes jq || echo locked
        apt-get -o DPkg::Lock::Timeout=60 install --yes jq && echo free
        """
    console = ec2.console(launch_and_wait_for(ec2, script, "free"))
    assert console.index("locked") < console.index("free")


# What a test sees


def test_a_launch_is_recorded_with_what_it_asked_for(ec2: EC2) -> None:
    tags = {"hhvm.dag": "hhvm_build", "hhvm.try": "1"}
    instance = launch(
        ec2,
        STAYS,
        client=ec2.client("ec2", "somebody"),
        SecurityGroupIds=[ec2.security_group_id],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}
        ],
    )
    [seen] = ec2.launches
    assert (seen.caller, seen.instances, seen.tags(), seen.tags("volume")) == (
        "somebody", (instance,), tags, {},
    )  # fmt: skip
    assert seen.user_data == f"#!/bin/bash\n{STAYS}\n"
    assert seen.parameters["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": "1"}
    assert seen.parameters["SecurityGroupId"] == [ec2.security_group_id]


def test_calls_are_recorded_in_the_words_of_a_policy(ec2: EC2) -> None:
    ec2.client("ec2", "reaper").describe_instances()
    ec2.client("ssm", "somebody").get_parameter(Name=AMI_PARAMETER)
    s3 = ec2.client("s3", "somebody")
    s3.put_object(Bucket="hhvm-scratch", Key="a/key", Body=b"")
    s3.copy_object(Bucket="hhvm-downloads", Key="b", CopySource={"Bucket": "hhvm-scratch", "Key": "a/key"})
    s3.list_objects_v2(Bucket="hhvm-scratch")
    assert ec2.calls == [
        Call("reaper", "ec2:DescribeInstances"),
        Call("somebody", "ssm:GetParameter"),
        Call("somebody", "s3:PutObject", "hhvm-scratch/a/key"),
        Call("somebody", "s3:PutObject", "hhvm-downloads/b"),
        Call("somebody", "s3:GetObject", "hhvm-scratch/a/key"),
        Call("somebody", "s3:ListBucket", "hhvm-scratch"),
    ]


def test_an_instance_is_pending_before_it_runs_and_shutting_down_before_it_is_terminated(ec2: EC2) -> None:
    client = ec2.client("ec2")
    instance = launch(ec2, STAYS, client=client)
    assert ec2.state(instance) == "pending"
    ec2.wait(instance, "running")
    client.terminate_instances(InstanceIds=[instance])
    assert ec2.state(instance) == "shutting-down"
    ec2.wait(instance, "terminated")


def test_another_process_uses_the_same_ec2(ec2: EC2) -> None:
    instance = launch(ec2, STAYS)
    script = "import boto3; print(boto3.client('ec2').describe_instances()['Reservations'])"
    output = subprocess.run(
        [sys.executable, "-c", script],
        env=ec2.environment("other"),
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert instance in output
    assert Call("other", "ec2:DescribeInstances") in ec2.calls


def test_nothing_is_left_when_it_ends(base_images: None) -> None:
    with emulated_ec2() as ec2:
        instance = launch_and_wait_for(ec2, f"docker network create net; {DOCKER_RUN}; {STAYS}", "ready")
    listings = [["ps", "--all"], ["volume", "ls"], ["network", "ls"]]
    label = f"label=hhvm.ec2.instance={instance}"
    for listing in listings:
        command = ["docker", *listing, "--quiet", "--filter", label]
        assert subprocess.run(command, check=True, capture_output=True).stdout == b""


@pytest.mark.slow
def test_fifty_trivial_instances_pass(ec2: EC2) -> None:
    client = ec2.client("ec2")
    names = [launch(ec2, "shutdown -h now", client=client) for _ in range(50)]
    for name in names:
        ec2.wait(name, "terminated", limit=300)
    assert [ec2.containers(name) for name in names] == [[]] * 50

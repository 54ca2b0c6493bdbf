"""What HHVM's load costs a month on AWS, computed from list prices: the table of docs/aws.md.

python -m benchmarks.aws_costs
"""

from __future__ import annotations

from dataclasses import dataclass

from hhvm_packaging.settings import Settings

HOURS = 730
"""Of a month."""
PRICES_OF = "2025"
KEPT_AFTER = 30
"""Days that S3 keeps what was deleted: KeepReplacedDays of deploy/aws/storage.yaml."""
PRICES = {
    "r6i.4xlarge, hour": 1.008,
    "t3.small, hour": 0.0208,
    "t3.xlarge, hour": 0.1664,
    "public IPv4 address, hour": 0.005,
    "gp3, GB-month": 0.08,
    "S3 Standard, GB-month": 0.023,
    "S3 writes and lists, 1000": 0.005,
    "S3 reads, 1000": 0.0004,
    "CloudFront to users, GB": 0.085,
    "CloudFront free, GB": 1024.0,
    "KMS key, month": 1.0,
    "CloudWatch alarm, month": 0.10,
}
"""US dollars, by AWS's public list prices for us-west-2 and the edges of PriceClass_100, without taxes."""


@dataclass(frozen=True)
class Load:
    """What a month has. These are assumptions: put your own here."""

    distributions: int = 4
    nightlies: float = 30.4
    releases: float = 4
    build_hours: float = 2.0
    """Of one distribution, on the machine of make-binary-package."""
    small_jobs: int = 3
    """For each version and distribution: two looks, and a share of the source's two jobs."""
    small_job_hours: float = 0.1
    canary_jobs: float = 730.0
    """For each distribution: one an hour."""
    canary_hours: float = 0.05
    packages_gb: float = 1.0
    """Of one version and distribution, debug symbols included."""
    public_gb: float = 400.0
    """Releases of years, and a month of nightlies."""
    downloaded_gb: float = 2000.0
    writes: float = 200_000.0
    reads: float = 3_000_000.0

    @property
    def builds(self) -> float:
        """Of all distributions."""
        return self.distributions * (self.nightlies + self.releases)


def costs(load: Load, settings: Settings) -> dict[str, float]:
    """US dollars a month, by what they are for."""
    machine = settings.ec2.machine("make-binary-package")
    build_hours = load.builds * load.build_hours
    small = load.builds * load.small_jobs * load.small_job_hours
    small += load.distributions * load.canary_jobs * load.canary_hours
    address, disk = PRICES["public IPv4 address, hour"], PRICES["gp3, GB-month"] / HOURS
    small_disk = settings.ec2.machine("verify-candidate").disk
    # As uploaded and as collected, and for a while after it was pruned.
    scratch = 2 * load.builds * load.packages_gb * (settings.scratch_days + KEPT_AFTER) / 30.4
    paid = max(0.0, load.downloaded_gb - PRICES["CloudFront free, GB"])
    build = PRICES[f"{machine.instance_types[0]}, hour"] + address + machine.disk * disk
    look = PRICES["t3.small, hour"] + address + small_disk * disk
    return {
        f"builds: {build_hours:.0f} h of {machine.instance_types[0]} with {machine.disk} GB": build_hours
        * build,
        f"other jobs: {small:.0f} h of t3.small": small * look,
        f"scratch: {scratch:.0f} GB": scratch * PRICES["S3 Standard, GB-month"],
        f"downloads: {load.public_gb:.0f} GB": load.public_gb * PRICES["S3 Standard, GB-month"],
        "S3's requests": (
            load.writes * PRICES["S3 writes and lists, 1000"] + load.reads * PRICES["S3 reads, 1000"]
        )
        / 1000,
        f"CloudFront: {load.downloaded_gb:.0f} GB to users": paid * PRICES["CloudFront to users, GB"],
        "host: t3.xlarge with 60 GB": HOURS * (PRICES["t3.xlarge, hour"] + address)
        + 60 * PRICES["gp3, GB-month"],
        "KMS key, two alarms": PRICES["KMS key, month"] + 2 * PRICES["CloudWatch alarm, month"],
    }


def table(load: Load, settings: Settings) -> str:
    """The costs as Markdown."""
    found = costs(load, settings)
    lines = ["| what | US dollars a month |", "|---|--:|"]
    lines += [f"| {what} | {cost:.0f} |" for what, cost in found.items()]
    return "\n".join([*lines, f"| **together** | **{sum(found.values()):.0f}** |"])


if __name__ == "__main__":
    print(table(Load(), Settings()))

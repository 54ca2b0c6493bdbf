"""The ids of the tasks, by DAG: for the DAG files, and for the reports and messages that name tasks.

A test compares them with the DAGs. Airflow keeps a run's history by these ids.
"""

from __future__ import annotations

from enum import StrEnum


class BuildTask(StrEnum):
    """The tasks of hhvm_build."""

    PLAN = "plan"
    MAKE_SOURCE_TARBALL = "make_source_tarball"
    SIGN_SOURCE_TARBALL = "sign_source_tarball"
    PLAN_PACKAGES = "plan_packages"
    MAKE_BINARY_PACKAGE = "make_binary_package"
    REPORT = "build_report"


class PublishTask(StrEnum):
    """The tasks of hhvm_publish_release."""

    PLAN = "plan"
    CANDIDATE = "candidate"
    VERIFY_CANDIDATE = "verify_candidate"
    UPDATE_REPOSITORIES = "update_repositories"
    INVALIDATE_CDN = "invalidate_cdn"
    """Only where the setting ``cdn_distribution`` names a CDN."""
    PUBLISH_RELEASE_SOURCE = "publish_release_source"
    UPDATE_INDICES = "update_indices"
    VERIFY_PUBLISHED = "verify_published"
    REPORT = "publish_report"


class WrapperTask(StrEnum):
    """The tasks of hhvm_build_and_publish and hhvm_build_and_publish_multi."""

    PLAN = "plan"
    BUILD = "build"
    IS_HELD = "is_held"
    READY = "ready"
    APPROVE = "approve"
    HOLD_UNTIL = "hold_until"
    MAY_PUBLISH = "may_publish"
    PUBLISH = "publish"
    ALL_PUBLISHED = "all_published"


class DependenciesTask(StrEnum):
    """The tasks of hhvm_renew_dependencies."""

    PLAN = "plan"
    BUILT_DISTROS = "built_distros"
    MAKE_IMAGE = "make_dependencies_image"


class CanaryTask(StrEnum):
    """The tasks of hhvm_canary."""

    PLAN = "plan"
    PUBLISHED_DISTROS = "published_distros"
    LOOK_AS_USER = "look_as_user"
    CHECK = "check"
    REPORT = "canary_report"

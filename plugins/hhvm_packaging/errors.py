"""The root of this project's own errors."""


class PackagingError(Exception):
    """Something is wrong, and trying again would not help. The message says what, where and what to do."""

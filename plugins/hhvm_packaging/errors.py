"""The root of this project's own errors."""


class PackagingError(Exception):
    """Something is wrong that trying again would not mend. The message says what, where and what to do."""

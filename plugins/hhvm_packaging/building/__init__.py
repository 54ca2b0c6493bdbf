"""Building: the source tarball and the packages."""

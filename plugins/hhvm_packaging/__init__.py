"""Build, sign and publish HHVM's Linux packages."""

"""Publishing: what suites are to become, who holds it back, and the moment from which users get it."""

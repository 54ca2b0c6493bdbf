"""Airflow as the end-to-end tests run it: several beside one another on few processors."""

UNHURRIED = {
    # Seconds after which an idle scheduler looks for work again. At the demo's it takes a tenth of a core.
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
}
"""Of a data directory's environment.json."""
DEADLINE = 1200
"""Seconds after which what a test waits for will not happen. A busy machine takes its time."""

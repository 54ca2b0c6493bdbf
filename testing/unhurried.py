"""Airflow as the end-to-end tests run it: several beside one another on few processors."""

UNHURRIED = {
    # Seconds after which an idle scheduler looks for work again. At the demo's it takes a tenth of a core.
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    # Files that changed are parsed again at once, the others after so many seconds.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1800",
}
"""Of a data directory's environment.json."""
DEADLINE = 1200
"""Seconds after which what a test waits for will not happen. A busy machine takes its time."""

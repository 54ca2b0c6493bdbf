"""Airflow as the end-to-end tests run it and ask it: several beside one another on few processors."""

import ssl

UNHURRIED = {
    # Seconds after which an idle scheduler looks for work again. At the demo's it takes a tenth of a core.
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    # Files that changed are parsed again at once, the others after so many seconds.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1800",
}
"""Of a data directory's environment.json."""
TLS = ssl.create_default_context()
"""For clients that ask again and again. To make one takes a client longer than Airflow takes to answer."""

"""DAG runs as they are seen from outside Airflow."""

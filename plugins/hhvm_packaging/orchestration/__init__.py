"""The only room that imports Airflow: operators, triggers, the trigger form, connections, notifications."""

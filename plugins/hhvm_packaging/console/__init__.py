"""The console: the pages and the API that people use for releases, an Airflow plugin."""

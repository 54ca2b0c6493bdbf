"""The only room that knows Airflow: operators, triggers, forms and what tasks are given."""

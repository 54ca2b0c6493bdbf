"""What a request means: the plan that the tasks of a run agree on, and what it is made from."""

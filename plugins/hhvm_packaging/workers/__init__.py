"""How a job runs: one detached worker per job, whichever kind of worker that is."""

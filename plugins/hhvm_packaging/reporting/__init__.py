"""Reports: what there is now, and of each failure all that a person needs to go on."""

"""Tables of runs, and the objective over their losses."""

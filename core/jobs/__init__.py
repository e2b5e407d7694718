"""The job protocol: how jobs are made, claimed, kept alive, ended and swept up, and the bell that wakes workers.
Every write of an owner goes through ``protocol``; what a job does lies elsewhere."""

"""Jobs: creation and cancelling (lifecycle), ownership by workers (protocol), events and progress, the sweep, the wake-up of
queues. The work itself lies elsewhere. Only a job's owner writes to it, by ``protocol`` and ``reporting``."""

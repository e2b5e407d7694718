"""Jobs: made and ended (lifecycle), taken and owned by workers (protocol), told of (events, reporting), swept up and rung for.
What a job does lies elsewhere; only its owner writes to it, by ``protocol`` and ``reporting``."""

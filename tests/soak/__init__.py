"""Real processes under load and under faults; afterwards nothing may be missing, wrong, stale or going backwards."""

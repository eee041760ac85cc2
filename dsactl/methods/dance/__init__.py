"""DANCE: distribution matching on networks between untrained and trained, with calibration by the trained ones."""

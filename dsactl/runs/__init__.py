"""Running a method: jobs, checkpoints, and what a run costs."""

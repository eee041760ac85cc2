"""Continual learning (Section 4.5, Figure 3): one network learns task after task, with a memory of earlier tasks."""

"""Continual learning (Section 4.5, Figure 3): one network learns task after task and rehearses the earlier ones."""

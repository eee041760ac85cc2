"""Architecture search on proxies (Section 4.6): networks are ranked by their accuracy after training on few images."""

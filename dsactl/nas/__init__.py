"""Architecture search on proxies (Section 4.6): many networks are ranked by what they make of a few images."""

"""Pages: a set, several sets, a pool of experts or the whole registry as one HTML file that fetches nothing."""

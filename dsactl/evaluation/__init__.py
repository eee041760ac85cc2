"""How good a set is: the protocol, networks trained and tested by it, and what was measured before."""

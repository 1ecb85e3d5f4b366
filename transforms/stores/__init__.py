"""Where keys, sealed values, consent events and accesses are kept; the rules are here, the tables behind protocols."""

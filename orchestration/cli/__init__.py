"""The command line. Thin: every command calls one function of the domain or of ``wiring.launch`` and prints its result."""

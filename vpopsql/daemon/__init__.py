"""The daemon: from lines of a client to transactions, and back to replies."""

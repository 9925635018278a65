"""One engine for every model: players and losses in, a run folder out."""

"""Trained runs behind HTTP: the service, its page, its store, and the watch over its stream."""

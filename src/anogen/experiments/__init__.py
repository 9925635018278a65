"""Whole studies: several runs beside one another."""

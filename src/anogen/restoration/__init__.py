"""Damaged images as they were: noise, holes and blur taken out by a trained model."""

"""What a trained model is worth, in numbers with intervals."""

"""Pictures of one domain as another would have them, by a trained `Translator`."""

"""What is asked: a recipe, checked, becomes the runs of a study."""

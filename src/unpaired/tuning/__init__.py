"""Choosing values of a recipe by short trainings: the learning rate (`unpaired lr-find`)."""

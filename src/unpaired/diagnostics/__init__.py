"""Common failures of CycleGAN trainings, and the checks that detect them."""

"""How strong the combination should be, and what is known where there is no retain model."""

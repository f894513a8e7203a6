"""`qmm search`: circuits found for a data set, under a budget of gates."""

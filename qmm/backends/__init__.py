"""`qmm backends`: one trained model, run on one backend after the other."""

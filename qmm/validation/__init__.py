"""`qmm crossval`: k-fold and grouped cross-validation."""

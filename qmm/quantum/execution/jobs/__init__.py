"""Jobs: requests packed into few, sent, sent again, kept, counted, and held against a budget."""

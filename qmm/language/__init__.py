"""Language models: loading, tokenizers, generation, perplexity."""

"""Language modelling: texts as tokens, tokenizers, a small GPT, and text generation."""

"""Language models and tokenizers of Hugging Face."""

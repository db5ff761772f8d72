//! GGUF vocabulary to tokenizer.

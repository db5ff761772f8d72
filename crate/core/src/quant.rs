//! Block formats of GGUF tensors.

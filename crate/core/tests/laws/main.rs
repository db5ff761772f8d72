//! Laws the whole core must keep, on the real model and on small random ones.

mod adapter;
mod families;
mod family_golden;
mod gemma;
mod gguf_lora;
mod golden;
mod golden_run;
mod guard;
mod kernels;
mod learning;
mod learning_gpu;
mod material;
mod mix;
mod needs;
mod order;
mod peft;
mod processor;
mod trainer;
mod trial;
mod tune;
mod writing;

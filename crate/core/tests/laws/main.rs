//! Laws the whole core must keep, on the real model and on small random ones.

mod golden;
mod kernels;
mod material;
mod order;
mod writing;

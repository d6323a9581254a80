//! The program `ser`.

fn main() {}

//! Sets the cfg by which the sources that are included take loom's atomics and locks.

fn main() {
    println!("cargo:rustc-cfg=model");
}

//! Descriptor limits and inheritance.

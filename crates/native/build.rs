//! Linker options of the module.

fn main() {
    // Envoy never unloads it: its thread-local values and its threads could not outlive that.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}

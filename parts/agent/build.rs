//! Generates the stubs of the container runtime interface. No `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/cri.proto", "proto/tasks.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // a scripted runtime, for tests
        .server_mod_attribute(".", "#[cfg(test)]")
        .generate_default_stubs(true)
        .btree_map(".")
        .compile_fds(files)?;
    Ok(())
}

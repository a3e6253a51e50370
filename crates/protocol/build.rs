//! Compiles the proto sources with a pure-Rust compiler, so no `protoc` has to be installed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "aria/v1/audit.proto",
        "aria/v1/blobs.proto",
        "aria/v1/bundles.proto",
        "aria/v1/common.proto",
        "aria/v1/exec.proto",
        "aria/v1/guest.proto",
        "aria/v1/leases.proto",
        "aria/v1/node.proto",
        "aria/v1/policy.proto",
        "aria/v1/runs.proto",
        "aria/v1/secrets.proto",
        "aria/v1/tools.proto",
        "aria/v1/trust.proto",
        "quilt/v1/sync_engine.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

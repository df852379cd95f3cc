//! Rust from the `.proto` files.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["values.proto", "keda/metrics.proto"];
    for file in files {
        println!("cargo:rerun-if-changed=proto/{file}");
    }
    println!("cargo:rerun-if-changed=proto/keda/external_metrics.proto");
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .include_file("all.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

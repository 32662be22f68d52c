//! Makes `gossamer.v1`'s messages from `proto/`, without protoc. What they wrap comes from the crate linkerd2-proxy-api.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from("../../proto");
    let folder = root.join("gossamer/v1");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [root, linkerd_protos()?])?;
    prost_build::Config::new().extern_path(".io.linkerd.proxy", "::linkerd2_proxy_api").compile_fds(descriptors)?;
    Ok(())
}

/// The folder of the `.proto` files that come with the API's crate.
fn linkerd_protos() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let output = Command::new(std::env::var("CARGO")?)
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &std::env::var("TARGET")?])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let package = packages.iter().find(|package| package["name"] == "linkerd2-proxy-api");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    Ok(Path::new(manifest.ok_or("linkerd2-proxy-api is not among the packages")?).with_file_name("proto"))
}

//! What the control plane sends, as pinned in `golden/`, is what this crate understands: the two halves of one contract.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use wire::linkerd::{destination, inbound, outbound};
use wire::{EndpointTable, Invalid, Message, v1};

/// The folder of the `.proto` files that come with the API's crate.
fn linkerd_protos() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let arguments = ["metadata", "--offline", "--format-version", "1", "--manifest-path", manifest];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "linkerd2-proxy-api").unwrap();
    Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("proto")
}

fn pool() -> DescriptorPool {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files = [
        "inbound.proto",
        "outbound.proto",
        "destination.proto",
        "gossamer/v1/names.proto",
        "gossamer/v1/endpoints.proto",
        "gossamer/v1/trust.proto",
    ];
    let set = protox::compile(files, [linkerd_protos(), own]).unwrap();
    DescriptorPool::from_file_descriptor_set(set).unwrap()
}

/// The message's kind, by the first word of the case's name, and how the sidecar reads it.
type Reader = fn(&[Vec<u8>]) -> Result<(), Invalid>;

const KINDS: [(&str, &str, Reader); 7] = [
    ("inbound", "io.linkerd.proxy.inbound.Server", |messages| {
        messages.iter().try_for_each(|one| wire::inbound::server(&inbound::Server::decode(&one[..]).unwrap()).map(drop))
    }),
    ("outbound", "io.linkerd.proxy.outbound.OutboundPolicy", |messages| {
        messages
            .iter()
            .try_for_each(|one| wire::outbound::policy(&outbound::OutboundPolicy::decode(&one[..]).unwrap()).map(drop))
    }),
    ("profile", "io.linkerd.proxy.destination.DestinationProfile", |messages| {
        messages.iter().try_for_each(|one| {
            wire::destination::profile(&destination::DestinationProfile::decode(&one[..]).unwrap()).map(drop)
        })
    }),
    ("endpoints", "io.linkerd.proxy.destination.Update", |messages| {
        let mut table = EndpointTable::new();
        messages.iter().try_for_each(|one| {
            let mut applied = table.apply(&destination::Update::decode(&one[..]).unwrap())?;
            applied.rejected.pop().map_or(Ok(()), Err)
        })
    }),
    ("names", "gossamer.v1.NamesTable", |messages| {
        messages.iter().try_for_each(|one| wire::names::table(&v1::NamesTable::decode(&one[..]).unwrap()).map(drop))
    }),
    ("trust", "gossamer.v1.TrustBundle", |messages| {
        messages.iter().try_for_each(|one| wire::trust::bundle(&v1::TrustBundle::decode(&one[..]).unwrap()).map(drop))
    }),
    // The sidecar does not use it yet: that it decodes is all there is to understand.
    ("metadata", "gossamer.v1.EndpointsMetadata", |messages| {
        messages.iter().for_each(|one| drop(v1::EndpointsMetadata::decode(&one[..]).unwrap()));
        Ok(())
    }),
];

#[test]
fn every_configuration_the_control_plane_is_pinned_to_is_understood() {
    let pool = pool();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let (mut read, mut wrong) = (0, vec![]);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".out.json") {
            continue;
        }
        let (_, kind, reader) =
            KINDS.iter().find(|(word, ..)| name.starts_with(word)).unwrap_or_else(|| panic!("{name}"));
        let said: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        // An object is a refusal: there is no message.
        let Value::Array(messages) = said else { continue };
        let descriptor = pool.get_message_by_name(kind).unwrap();
        let encode = |message| DynamicMessage::deserialize(descriptor.clone(), message).unwrap().encode_to_vec();
        let messages: Vec<Vec<u8>> = messages.into_iter().map(encode).collect();
        match reader(&messages) {
            Ok(()) => read += 1,
            Err(invalid) => wrong.push(format!("{name}: {invalid}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(read > 50, "{read} cases");
}

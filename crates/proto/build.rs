//! Compiles `proto/` with protox, so that no `protoc` is needed.

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_build::{Service, ServiceGenerator};

/// RPCs whose server takes requests as their bytes: those that many events come
/// by.
const RAW: &[(&str, &str)] = &[
    ("northstar.ingestion.v1.IngestionService", "IngestEvents"),
    ("northstar.ingestion.v1.IngestionService", "IngestColumns"),
    ("northstar.ingestion.v1.IngestionService", "StreamEvents"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked at run time: a cached build script may have been compiled in another clone.
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = proto_files(&root)?;
    let descriptors = protox::compile(&files, [&root])?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new()
        .btree_map(["."])
        .include_file("all.rs")
        .service_generator(Box::new(Services {
            clients: tonic_prost_build::configure().build_server(false).service_generator(),
            servers: tonic_prost_build::configure().build_client(false).service_generator(),
        }))
        .compile_fds(descriptors)?;
    Ok(())
}

/// Generates clients, and servers that take the requests of [`RAW`] as bytes.
struct Services {
    clients: Box<dyn ServiceGenerator>,
    servers: Box<dyn ServiceGenerator>,
}

impl ServiceGenerator for Services {
    fn generate(&mut self, mut service: Service, buf: &mut String) {
        self.clients.generate(service.clone(), buf);
        let name = format!("{}.{}", service.package, service.proto_name);
        for method in &mut service.methods {
            if RAW.contains(&(&*name, &*method.proto_name)) {
                method.input_type = format!("crate::Encoded<super::{}>", method.input_type);
            }
        }
        self.servers.generate(service, buf);
    }
}

/// Every `.proto` below `folder`, sorted, so that the output does not depend on
/// the file system.
fn proto_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

//! Every service, RPC, message, field and enum value says what it is.

use northstar_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

#[test]
fn every_rpc_says_whether_a_retry_is_safe_or_reads() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors decode");
    let mut silent = Vec::new();
    for file in set.file.iter().filter(|file| file.package().starts_with("northstar.")) {
        for (index, service) in file.service.iter().enumerate() {
            for (method_index, method) in service.method.iter().enumerate() {
                let path = [6, index as i32, 2, method_index as i32];
                let comment = comment(file, &path).to_lowercase();
                let reads = ["Get", "List", "Query", "Resolve", "Subscribe"]
                    .iter()
                    .any(|verb| method.name().starts_with(verb));
                let says = ["retry", "idempotent", "a read", "ignored", "at least once"]
                    .iter()
                    .any(|word| {
                        comment.split_whitespace().collect::<Vec<_>>().join(" ").contains(word)
                    });
                if comment.trim().is_empty() || !(reads || says) {
                    silent.push(format!("{}.{}", service.name(), method.name()));
                }
            }
        }
    }
    assert!(silent.is_empty(), "these RPCs do not say whether to retry: {silent:?}");
}

fn comment<'a>(file: &'a FileDescriptorProto, path: &[i32]) -> &'a str {
    file.source_code_info
        .as_ref()
        .and_then(|info| info.location.iter().find(|location| location.path == path))
        .map_or("", |location| location.leading_comments())
}

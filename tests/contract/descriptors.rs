//! The contracts as the suite serves them.

use northstar_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Every RPC of Northstar, as `/package.Service/Method`, sorted.
pub fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors decode");
    let mut methods = Vec::new();
    for file in set.file.iter().filter(|file| file.package().starts_with("northstar.")) {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    methods.sort();
    methods
}

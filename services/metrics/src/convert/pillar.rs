//! Pillars on the wire.

use northstar_domain::Violations;
use northstar_domain::pillar::Pillar;
use northstar_proto::metrics::v1 as pb;

use super::Received;

/// A pillar for the wire.
pub fn to_proto(name: &str, etag: &str, pillar: &Pillar) -> pb::Pillar {
    pb::Pillar {
        name: name.to_owned(),
        title: pillar.title.clone(),
        description: pillar.description.clone(),
        owner: pillar.owner.clone(),
        levers: pillar.levers.clone(),
        etag: etag.to_owned(),
    }
}

/// A pillar from the wire.
pub fn from_proto(pillar: pb::Pillar) -> Received<Pillar> {
    let pb::Pillar { name, title, description, owner, levers, etag } = pillar;
    let document = Pillar { title, description, owner, levers };
    Received { name, etag, document, violations: Violations::new() }
}

//! Activities on the wire.

use northstar_domain::Violations;
use northstar_domain::activity::Activity;
use northstar_proto::metrics::v1 as pb;

use super::Received;
use super::metric::{selector_from_proto, selector_to_proto};

/// An activity for the wire.
pub fn to_proto(name: &str, version: i64, etag: &str, activity: &Activity) -> pb::Activity {
    pb::Activity {
        name: name.to_owned(),
        title: activity.title.clone(),
        description: activity.description.clone(),
        owner: activity.owner.clone(),
        events: activity.events.iter().map(selector_to_proto).collect(),
        default: activity.default,
        version,
        etag: etag.to_owned(),
    }
}

/// An activity from the wire. The version is the service's to give and is ignored.
pub fn from_proto(activity: pb::Activity) -> Received<Activity> {
    let pb::Activity { name, title, description, owner, events, default, version: _, etag } =
        activity;
    let events = events.into_iter().map(|event| selector_from_proto(Some(event))).collect();
    let document = Activity { title, description, owner, events, default };
    Received { name, etag, document, violations: Violations::new() }
}

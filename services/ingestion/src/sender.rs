//! Who sends events, and from which sources they may.

use northstar_domain::ProjectId;
use northstar_domain::event::MAX_SOURCE_BYTES;
use northstar_server::Caller;
use northstar_server::outbox::SOURCE;

use crate::error::Error;
use crate::service::check_name;

/// Who sends, as far as it decides what may be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sender {
    /// Whose log takes the events.
    pub(crate) project: ProjectId,
    /// Whether it is a service of the suite.
    is_suite: bool,
}

impl From<&Caller> for Sender {
    fn from(caller: &Caller) -> Self {
        Self { project: caller.project, is_suite: caller.is_suite }
    }
}

impl Sender {
    /// Somebody without a key, who is believed for a signature.
    pub(crate) fn signed(project: ProjectId) -> Self {
        Self { project, is_suite: false }
    }

    /// Checks the name of a source, and that it is this one's to send from. Reports
    /// count what the suite tells of itself, so nobody else may tell it.
    ///
    /// # Errors
    /// When it is no name, or the suite's.
    pub(crate) fn check_source(self, source: &str) -> Result<(), Error> {
        check_name("source", source, MAX_SOURCE_BYTES)?;
        if source == SOURCE && !self.is_suite {
            return Err(Error::ReservedSource);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_suite_sends_from_its_source() {
        let people = Sender::signed(ProjectId(1));
        let suite = Sender { is_suite: true, ..people };
        assert!(matches!(people.check_source("northstar"), Err(Error::ReservedSource)));
        assert!(suite.check_source("northstar").is_ok());
        for source in ["web", "Northstar", "northstar-web"] {
            assert!(people.check_source(source).is_ok(), "{source}");
        }
        assert!(matches!(suite.check_source(""), Err(Error::Invalid { .. })));
    }
}

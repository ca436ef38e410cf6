//! Why a cluster could not be had, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One place where PostgreSQL was looked for, and why it was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The folder, pattern or command.
    pub place: String,
    /// What was the matter with it.
    pub outcome: String,
}

impl fmt::Display for Looked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.outcome)
    }
}

/// Why a cluster could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable PostgreSQL on the machine, and none downloaded.
    #[error(
        "no usable PostgreSQL {wanted} was found; looked at:{}\n\
         do one of these: install PostgreSQL (`apt install postgresql`, `brew install postgresql`), \
         set DATABASE_URL to a server that runs, or allow the download",
        lines(.looked)
    )]
    NoPostgres {
        /// The version asked for, in words.
        wanted: String,
        /// Every place looked at, in order; the download is the last.
        looked: Vec<Looked>,
    },
    /// Another Northstar lives on this data folder.
    #[error(
        "the data folder {} is in use by another Northstar{}; stop it, or choose another data folder",
        .data_dir.display(), process(*.holder)
    )]
    InUse {
        /// The folder asked for.
        data_dir: PathBuf,
        /// The process id of the other one, when it could be read.
        holder: Option<u32>,
    },
    /// The cluster belongs to another user of the machine.
    #[error("the cluster in {} belongs to user id {owner}; start Northstar as that user, or choose another data folder", .home.display())]
    NotOwner {
        /// The folder of the cluster.
        home: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Root has nobody to run the server as.
    #[error(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as; \
         add one, start Northstar as another user, or set DATABASE_URL"
    )]
    NoUser,
    /// The user that runs the server cannot reach the cluster.
    #[error(
        "the cluster in {} cannot be reached by user id {uid}, which runs it; \
         let that user pass through the folders above, or choose another data folder",
        .home.display()
    )]
    Barred {
        /// The folder of the cluster.
        home: PathBuf,
        /// Who runs the server.
        uid: u32,
    },
    /// The cluster was recorded to live elsewhere and is not there.
    #[error("{} says that the cluster lives in {}, which does not exist; restore it, or remove that file to start over", .record.display(), .home.display())]
    Lost {
        /// The file with the record.
        record: PathBuf,
        /// Where the cluster should be.
        home: PathBuf,
    },
    /// The cluster exists, its password does not.
    #[error("the password of the cluster is missing at {}; restore it, or remove the cluster's folder to start over", .0.display())]
    NoPassword(PathBuf),
    /// No folder for the Unix socket has a short enough path.
    #[error("the path of the Unix socket would be longer than {limit} bytes in {}; set TMPDIR to a shorter path", .dir.display())]
    SocketPath {
        /// The shortest folder tried.
        dir: PathBuf,
        /// The longest path the system takes.
        limit: usize,
    },
    /// The folder for the Unix socket is not ours, or open to others.
    #[error("the folder {} for the Unix socket belongs to another user or is open to others; remove it", .0.display())]
    SocketFolder(PathBuf),
    /// A program of PostgreSQL could not be run.
    #[error("cannot run {program}")]
    Run {
        /// Its path.
        program: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed ({status}): {output}")]
    Failed {
        /// Its path.
        program: String,
        /// Its exit status.
        status: String,
        /// The last lines it wrote.
        output: String,
    },
    /// The server did not start.
    #[error("the PostgreSQL server did not start; the end of {} says:\n{tail}", .log.display())]
    Start {
        /// The log of the server.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// The server runs, but a connection or statement failed.
    #[error("cannot talk to the PostgreSQL server at {at}: {doing}")]
    Connect {
        /// The socket folder or address.
        at: String,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// A file or folder could not be used.
    #[error("cannot {doing} {}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Names the file with the failure: `.map_err(Error::file("create", path))`.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }
}

fn lines(looked: &[Looked]) -> String {
    looked.iter().map(|place| format!("\n  {place}")).collect()
}

fn process(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
